"""Commands of `yiwen`: options are dataclasses, results are exit codes, expected errors are one line on stderr.

::

    @dataclass(frozen=True, kw_only=True)
    class ShowOptions:
        release: Annotated[Path, typer.Argument(metavar="DIR", help="the release")]
        json: Annotated[bool, typer.Option("--json", help="print JSON")] = False

    def show(options: ShowOptions) -> int: ...

    add_command(app, "show", show, ShowOptions, help="show a release")

Exit codes are the same for every command (docs/command-line.md).
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

import typer
from typer.core import TyperGroup

FAILED = 1
"""Exit code: the command ran, and what was asked about fails."""
UNUSABLE = 2
"""Exit code: wrong options or files, or a service, cluster or Redis that cannot be reached."""
Options = TypeVar("Options")


def new_app(help: str, *, cls: type[TyperGroup] | None = None) -> typer.Typer:
    """A group of commands whose help and errors are plain text.

    Args:
        help: what the commands are for.
        cls: class of the group; None for typer's own.
    """
    return typer.Typer(
        help=help,
        cls=cls,
        no_args_is_help=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def add_command(
    app: typer.Typer,
    name: str,
    run: Callable[[Options], int],
    options: type[Options],
    *,
    help: str,
    epilog: str | None = None,
) -> None:
    """Add a command.

    Args:
        app: from :func:`new_app`.
        name: of the command.
        run: does the work and returns the exit code.
        options: dataclass whose fields are annotated with ``typer.Option`` or ``typer.Argument``.
        help: one line in the list of commands, and the command's description.
        epilog: follows the list of options in the command's help.
    """
    hints = typing.get_type_hints(options, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(typing.cast(Any, options))
    ]

    def command(**values: object) -> None:
        raise typer.Exit(run(options(**values)))

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    command.__annotations__ = hints
    app.command(name, help=help, epilog=epilog)(command)


def lazy_group(commands: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """A group that imports a command's module when the command is run.

    Args:
        commands: by name, ``module:attribute`` of the command's ``typer.Typer``, and one line of help.
    """

    class LazyGroup(TyperGroup):
        """Commands that are imported when they are run."""

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401  typer has no public name for its context
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401  as above
            if cmd_name not in commands:
                return None
            module, _, attribute = commands[cmd_name][0].partition(":")
            command = typer.main.get_command(getattr(import_module(module), attribute))
            command.name = cmd_name
            return command

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  as above
            names: Any = dict.fromkeys(commands)
            self.commands = names  # suggestions for a misspelled name are made from these
            return super().resolve_command(ctx, args)

        def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  as above
            with formatter.section("Commands"):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])

    return LazyGroup


def run_app(app: typer.Typer, argv: list[str] | None, *, prog: str) -> int:
    """Run a command line; returns its exit code.

    Args:
        app: from :func:`new_app`.
        argv: without the program's name; None takes that of the process.
        prog: the program's name.
    """
    try:
        typer.main.get_command(app)(args=argv, prog_name=prog)
    except SystemExit as ended:  # typer's way to end; it maps errors of usage to 2, and Ctrl-C to 130
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def fail(command: str, message: object, code: int) -> int:
    """Print ``yiwen COMMAND: MESSAGE`` to stderr.

    Args:
        command: as the user wrote it, e.g. ``cache stats``.
        message: an error, or its text.
        code: the exit code.

    Returns:
        ``code``.
    """
    print(f"yiwen {command}: {message}", file=sys.stderr)
    return code
