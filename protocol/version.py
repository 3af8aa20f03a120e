"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata


def package_version() -> str:
    """Version of Yiwen, e.g. ``0.1.0``; ``unknown`` in a checkout that is not installed."""
    try:
        return metadata.version("yiwen")
    except metadata.PackageNotFoundError:
        return "unknown"
