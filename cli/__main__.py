"""Entry point of `yiwen`: lists the commands, and imports a command's module when it is run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from protocol.command_line import lazy_group, new_app, run_app
from protocol.version import package_version

COMMANDS = {
    "cache": ("cli.suggestions:app", "show, fill or empty the shared cache; review suggestions"),
    "cost": ("cli.cost:app", "show what a service used and what that cost, by pair and caller"),
    "doctor": ("cli.doctor:app", "say what is wrong with a cluster or a service, and how to mend it"),
    "keys": ("cli.keys:app", "make, list and revoke API keys"),
    "plan": ("cli.plan:app", "plan GPUs, slices and replicas for a load and an objective"),
    "profile": ("cli.profile:app", "measure a running predictor for simulate and plan"),
    "release": ("predictor.builder.commands:app", "build, check, show, measure and move releases"),
    "rollout": ("cli.rollout:app", "try, promote or take back a release in a cluster"),
    "serve": ("cli.serve:app", "serve a release on this machine, both services in one command"),
    "simulate": ("cli.simulate:app", "simulate a load on a deployment: latency, errors, slices, cost"),
    "translate": ("cli.translate:app", "translate texts through a running service"),
}

app = new_app("Self-hosted LLM translation.", cls=lazy_group(COMMANDS))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"yiwen {package_version()}")
        raise typer.Exit


@app.callback()
def _yiwen(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options of `yiwen` itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the process's exit code.

    Args:
        argv: without the program's name; None takes the process's.
    """
    return run_app(app, None if argv is None else list(argv), prog="yiwen")


if __name__ == "__main__":
    sys.exit(main())
