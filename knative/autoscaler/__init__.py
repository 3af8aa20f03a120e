"""Port of Knative's autoscaler for pods (KPA); ``docs/autoscaling.md`` maps its modules to Knative's sources."""
