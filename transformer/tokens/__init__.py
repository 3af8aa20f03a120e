"""Text to the release's token ids and back, also while more of them are still coming."""
