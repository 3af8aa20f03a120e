"""The demo service of the tests of the public APIs."""

from __future__ import annotations

from tests.transformer.apis.conftest import demo, demo_release, http

__all__ = ["demo", "demo_release", "http"]
