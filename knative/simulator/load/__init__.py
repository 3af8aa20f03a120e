"""The load of a simulation: access logs, generated arrivals, and the workload drawn from them."""
