"""A long run of the service at a share of its capacity, with a fault every minute: ``python -m benchmarks.soak``."""
