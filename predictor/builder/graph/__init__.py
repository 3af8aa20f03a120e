"""The decoder step as ONNX graphs: one for ONNX Runtime, one per matrix product for TensorRT."""
