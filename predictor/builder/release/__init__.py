"""A release directory: built, published whole, described, and checked."""
