"""The stages of ``benchmarks/gpu.py``: each runs in its own process and returns figures as JSON values."""
