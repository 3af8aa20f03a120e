"""Compares the simulator's prediction with a real cluster under changing load."""
