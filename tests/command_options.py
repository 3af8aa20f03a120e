"""Options as a command line gives them, without running the command."""

from __future__ import annotations

from typing import Any, TypeVar

import typer

Options = TypeVar("Options")


def parse_options(app: typer.Typer, options: type[Options], *words: str) -> Options:
    """Options of the command ``words[0]`` of ``app``, given ``words[1:]``."""
    group: Any = typer.main.get_command(app)
    command = group.get_command(None, words[0])
    context = command.make_context(words[0], list(words[1:]))
    return options(**context.params)
