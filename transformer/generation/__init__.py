"""What the cache does not have: made once for all who ask for it, and once more where a guard objects."""
