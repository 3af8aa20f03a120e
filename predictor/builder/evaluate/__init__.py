"""A release's translations measured against references."""
