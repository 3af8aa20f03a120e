"""Discrete events: a trace of requests through a service under Knative, before there is a cluster."""
