"""A port of Knative's autoscaler (KPA), and a simulator and a planner on top of it.

``docs/autoscaling.md`` maps the modules of the port to the sources of Knative.
"""
