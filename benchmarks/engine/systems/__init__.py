"""One module per system. Each runs in its own process, so that libraries share no threads or memory."""
