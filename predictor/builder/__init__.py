"""Builds releases offline from Hugging Face checkpoints; serving never imports this package."""
