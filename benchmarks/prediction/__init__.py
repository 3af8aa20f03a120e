"""The simulator's prediction beside what really happens, on this machine."""
