"""Runs steps of a started plan: CUDA graphs, the order of operations, what runs each of them."""
