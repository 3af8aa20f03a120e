"""Benchmarks: run by hand on a quiet machine, never from the tests."""
