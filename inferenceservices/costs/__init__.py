"""What a service used and did in a span of time, and what that cost: from metrics or from log lines."""
