"""What API keys promise: fairness to small callers, and quotas that hold (``python -m benchmarks.callers``)."""
