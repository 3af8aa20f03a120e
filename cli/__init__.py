"""`yiwen`: mounts the packages' commands, and runs both services side by side."""
