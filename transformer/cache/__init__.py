"""What was translated before: in this process' memory, in Redis, and as people bring it.

Leases lie here too: they are given back in the step that writes the value they were held for.
"""
