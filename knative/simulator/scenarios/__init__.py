"""Scenarios: what is simulated, and the YAML file that describes it."""
