"""Tables of few steps fitted to a denoiser."""
