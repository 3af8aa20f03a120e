"""`yiwen`: mounts each room's commands. No logic of its own beyond running both services side by side."""
