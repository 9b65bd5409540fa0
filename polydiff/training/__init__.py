"""The training loop: objective, weight average, checkpoints, resume. Tensors only."""
