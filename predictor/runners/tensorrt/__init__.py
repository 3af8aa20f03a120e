"""Runs a plan on an NVIDIA GPU: TensorRT for everything between two attentions, our own kernels for the rest."""
