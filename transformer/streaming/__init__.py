"""The pipeline's answers while tokens are still coming: each piece of text that no later token can change."""
