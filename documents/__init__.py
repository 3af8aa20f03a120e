"""File formats: a document's bytes to texts that are translated on their own, and back. Knows no service."""
