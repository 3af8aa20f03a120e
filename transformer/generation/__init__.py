"""Cache misses: generated once for all that ask for them, with a second attempt for flagged results."""
