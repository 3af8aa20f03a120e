"""Knative as code: its autoscaler (KPA), ported with its names, so that decisions can be computed before deploying.

No clocks, no sockets, no files: time, chance and texts are arguments. ``docs/autoscaling.md`` maps the modules to the
sources of Knative they port.
"""
