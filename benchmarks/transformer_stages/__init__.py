"""The stages of ``python -m benchmarks.transformer``; each answers one question."""
