"""Text processing before and after the model: splitting, language detection, checks, joining. Pure functions."""
