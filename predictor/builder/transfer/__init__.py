"""Checkpoints and releases over the network: hubs, buckets, web servers and OCI registries."""
