"""The dashboards and alerts of the component monitoring over a real Prometheus and a service that suffers faults."""
