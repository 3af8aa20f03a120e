"""Kubernetes objects as ``inferenceservices`` and ``knative`` read them: YAML, KServe's kinds, quantities.

Pure functions over text and values; nothing here talks to a cluster.
"""
