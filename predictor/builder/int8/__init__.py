"""int8 plans: calibration, quantized matrices, and the quality gate."""
