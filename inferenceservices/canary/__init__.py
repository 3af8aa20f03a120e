"""A canary's metrics against those of the stable release, and the decision to promote, hold or roll back."""
