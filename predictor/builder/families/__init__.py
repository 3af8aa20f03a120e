"""The supported decoder families: one module each, and the reader of ``config.json`` that uses them."""
