"""Runs a TensorRT plan on an NVIDIA GPU: TensorRT for the matrix products, our own kernels for the rest."""
