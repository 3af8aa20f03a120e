"""``yiwen release plan``: TensorRT engines for this GPU and a release's weights, in one file."""
