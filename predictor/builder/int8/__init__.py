"""Calibration, int8 matrices, and the gate that a plan made of them must pass."""
