"""A page of the documentation that a script writes, and the check that it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def write_or_check(page: Path, wanted: str, script: str) -> int:
    """Write a page; with --check on the command line only say on stderr whether it is up to date.

    Args:
        page: the file.
        wanted: its whole text.
        script: the ``__file__`` of the script that makes it.

    Returns:
        The exit code.
    """
    if "--check" not in sys.argv[1:]:
        page.write_text(wanted, encoding="utf-8")
        return 0
    if page.exists() and page.read_text(encoding="utf-8") == wanted:
        return 0
    names = (path.resolve().relative_to(ROOT) for path in (page, Path(script)))
    print("{} is not up to date: run python {}".format(*names), file=sys.stderr)
    return 1
