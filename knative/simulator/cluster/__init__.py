"""The simulated cluster: pods, revisions, deployments, cache and batching decoder."""
