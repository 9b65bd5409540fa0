"""Property tests draw few examples each, there are many of them, and never fail for being slow."""

from hypothesis import settings

settings.register_profile("engine", max_examples=20, deadline=None)
settings.load_profile("engine")
