"""How often a canary is judged rightly: over simulated requests, and with real processes."""
