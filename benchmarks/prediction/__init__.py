"""Compares the simulator's prediction with measurements on this machine."""
