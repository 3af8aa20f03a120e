"""How many slices of which GPU serve so many requests in time: bytes, derived profiles, and the simulator."""
