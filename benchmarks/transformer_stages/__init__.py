"""The parts of ``python -m benchmarks.transformer``; each stage measures one question."""
