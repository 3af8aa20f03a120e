"""`yiwen render`: prints the manifests of an overlay, for those who have no kustomize.

Apply them with `yiwen render production | kubectl apply -f -`; an overlay of your own, such as `yiwen plan --write`
makes, is named by its directory. Exit codes: 0 printed, 2 the overlay or a value cannot be used.
"""

from __future__ import annotations

import argparse
import sys

MISUSED = 2


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen render`."""
    parser = subparsers.add_parser(
        "render", help="print the manifests of an overlay, without kustomize", description=__doc__
    )
    parser.add_argument(
        "overlay", metavar="OVERLAY", help="directory with a kustomization.yaml, or production, staging ..."
    )
    parser.add_argument(
        "--set", dest="values", type=_pair, action="append", default=[], metavar="KEY=VALUE",
        help="of inferenceservices/base/values.yaml; may be repeated, and wins over the overlay",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Render and print; returns the exit code."""
    from inferenceservices.kustomize_edits import RenderFailed
    from inferenceservices.render import find_overlay, render

    try:
        text = render(find_overlay(arguments.overlay), dict(arguments.values))
    except RenderFailed as error:
        print(f"yiwen render: {error}", file=sys.stderr)
        return MISUSED
    print(text, end="")
    return 0


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE")
    return key, value
