"""A Hugging Face checkpoint: its configuration, and its tensors read in slices."""
