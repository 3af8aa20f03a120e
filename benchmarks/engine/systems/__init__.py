"""One module per system. Each runs in a process of its own, so no library shares threads or memory with another."""
