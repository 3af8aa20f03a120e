"""GPUs, model sizes, and profiles derived for hardware or models that were not measured."""
