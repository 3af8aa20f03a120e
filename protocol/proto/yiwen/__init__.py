"""The protobuf package ``yiwen``."""
