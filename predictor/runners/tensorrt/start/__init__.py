"""Starts a TensorRT plan on the GPU: chooses it, plans the memory, loads weights and kernels."""
