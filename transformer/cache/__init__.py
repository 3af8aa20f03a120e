"""The translation cache: in process memory and in Redis, and translation memory files.

Leases are here too, since one command stores a value and releases its lease.
"""
