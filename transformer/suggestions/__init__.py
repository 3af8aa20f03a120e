"""Better translations that callers suggest, and those that a person has accepted (docs/apis.md)."""
