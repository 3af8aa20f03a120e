"""Runners, which execute steps: one protocol (``base``), one implementation per library."""
