"""Running the sampling loop: batching, threads, CUDA graphs, memory limits, and runs saved to a file."""
