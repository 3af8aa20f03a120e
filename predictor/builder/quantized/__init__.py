"""Builds of int8 and int4 weights that are calibrated and measured on texts, for ONNX Runtime."""
