"""Entry point of `yiwen`. Every room brings its own commands; heavy imports wait until one of them runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import cli.cache
import cli.plan
import cli.profile
import cli.rollout
import cli.serve
import cli.simulate
import cli.translate
import predictor.builder.commands


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run the command; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="yiwen", description="Self-hosted LLM translation.")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    cli.cache.add_command(subparsers)
    cli.plan.add_command(subparsers)
    cli.profile.add_command(subparsers)
    cli.rollout.add_command(subparsers)
    cli.serve.add_command(subparsers)
    cli.simulate.add_command(subparsers)
    cli.translate.add_command(subparsers)
    predictor.builder.commands.add_commands(subparsers)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        code = 130
    return code


if __name__ == "__main__":
    sys.exit(main())
