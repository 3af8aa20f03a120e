"""Predictor profiles: the file format, their measurement over HTTP, and the fit of a profile to measurements."""
