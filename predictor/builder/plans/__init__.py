"""TensorRT plans: engines for this machine's GPU and a release's weights, in one file."""
