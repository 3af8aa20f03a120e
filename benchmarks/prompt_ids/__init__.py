"""Checks that served prompts have the ids of the whole string, for every recipe and every tokenizer at hand."""
