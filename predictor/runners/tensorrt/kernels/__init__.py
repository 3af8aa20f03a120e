"""Our CUDA kernels: sources, compilation, arguments, launches."""
