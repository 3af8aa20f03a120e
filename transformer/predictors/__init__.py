"""The way to the predictor: whether there is room, whether it is up, which address has the release, and the call."""
