"""Streamed translations: pieces of text, each sent once no later token can change it."""
