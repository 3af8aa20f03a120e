"""Yiwen on Kubernetes: the manifests (YAML beside this file) and the code that builds and checks them."""
