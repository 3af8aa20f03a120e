"""Recipes of published models: prompts, languages, stop tokens and limits, one JSON document each."""
