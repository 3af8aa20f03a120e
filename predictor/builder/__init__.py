"""Offline: from a Hugging Face checkpoint to a release. Serving never imports this room."""
