"""Plans GPUs, slices and replicas for a workload and its SLO, from profiles and simulations."""
