"""A release compared with the checkpoint it was built from."""
