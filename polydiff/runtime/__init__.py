"""From the loop to a machine: many requests at once, in full batches, as CUDA graphs, beside each other,
and to a file and back."""
