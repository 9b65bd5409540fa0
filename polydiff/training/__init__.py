"""The other loop: what a network is asked, its gradient steps, their averages, and how a run goes on."""
