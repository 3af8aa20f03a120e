"""Phi 3: Llama with packed matrices. The long forms (``longrope``) are refused."""

from __future__ import annotations

from predictor.builder.families.family import Family

PHI3 = Family(architecture="Phi3ForCausalLM", packed=True, window_bounds_length=True)
