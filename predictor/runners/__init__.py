"""What executes a step: one Runner protocol (``base``), one module per library behind it."""
