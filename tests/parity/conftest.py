"""Leaves out what downloads from a package index, unless ``YIWEN_TEST_NETWORK`` is set."""

from __future__ import annotations

import os

NETWORK_TESTS = ["test_smollm2.py", "test_published_sentencepiece.py"]
collect_ignore = [] if os.environ.get("YIWEN_TEST_NETWORK") else NETWORK_TESTS
