"""One diffusion engine for any kind of data."""

__version__ = "0.1.0"
