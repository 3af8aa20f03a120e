"""`yiwen translate`: texts from the command line, a file or stdin, through a running service.

A client like any other (:mod:`cli.service`). Plain text is read line by line, one text a line; HTML and XML are read
whole, since what a line of them means stands in the lines before it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import Progress

from cli.service import Job, Result, TranslateError, translate_all
from protocol.messages import TextFormat

DEFAULT_URL = "http://127.0.0.1:8080"
TEXTS_PER_REQUEST = 32
REQUESTS_IN_FLIGHT = 4

FAILED = 1
MISUSED = 2


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go, and in which form."""

    file: TextIO
    as_json: bool
    as_document: bool
    """Whether the one result is a document, which is written as it is."""


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen translate`."""
    parser = subparsers.add_parser("translate", help="translate texts through a running service")
    parser.add_argument("text", nargs="*", help="texts; none: one per line from -i or stdin")
    parser.add_argument("--to", required=True, metavar="TAG", help="language wanted, e.g. zh")
    parser.add_argument("--from", dest="source", metavar="TAG", help="language of the texts (detected)")
    parser.add_argument("--url", default=DEFAULT_URL, help=f"of the service ({DEFAULT_URL})")
    parser.add_argument("--model", metavar="NAME", help="model name (the first one the service names)")
    parser.add_argument("-i", dest="input", metavar="FILE", help="read texts from FILE, - is stdin")
    parser.add_argument("-o", dest="output", metavar="FILE", help="write to FILE, - is stdout")
    parser.add_argument("--json", action="store_true", help="one JSON object per text")
    parser.add_argument(
        "--format",
        choices=[known.value for known in TextFormat],
        help="of the texts (text); a file of html or xml is one text",
    )
    parser.add_argument(
        "--glossary",
        type=Path,
        metavar="FILE",
        help="terms to translate in a given way, or to keep: docs/texts.md",
    )
    parser.add_argument("--max-new-tokens", type=_positive, metavar="N", help="bound for each answer")
    parser.add_argument(
        "--batch",
        type=_positive,
        default=TEXTS_PER_REQUEST,
        metavar="N",
        help="texts per request (%(default)s)",
    )
    parser.add_argument(
        "--in-flight", type=_positive, default=REQUESTS_IN_FLIGHT, metavar="N",
        help="requests at a time (%(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Translate and print; returns the exit code."""
    if arguments.text and arguments.input:
        print("yiwen translate: give texts or -i FILE, not both", file=sys.stderr)
        return MISUSED
    try:
        job = _job(arguments)
        with ExitStack() as stack:
            texts, total = _open_input(arguments, stack)
            output = Output(
                _open_output(arguments, stack), arguments.json, as_document=_is_document(arguments)
            )
            asyncio.run(_print_all(job, texts, total, output))
    except BrokenPipeError:  # `... | head`: whoever read has enough
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the interpreter complains at its end
        return FAILED
    except (TranslateError, OSError, UnicodeDecodeError) as error:
        print(f"yiwen translate: {error}", file=sys.stderr)
        return FAILED
    return 0


def _job(arguments: argparse.Namespace) -> Job:
    wishes = {
        "target": arguments.to,
        "source": arguments.source,
        "max_new_tokens": arguments.max_new_tokens,
        "format": arguments.format,
        "glossary": arguments.glossary.read_text(encoding="utf-8") if arguments.glossary else None,
    }
    return Job(
        url=arguments.url.rstrip("/"),
        model=arguments.model,
        parameters={name: value for name, value in wishes.items() if value is not None},
        batch=arguments.batch,
        in_flight=arguments.in_flight,
    )


def _is_document(arguments: argparse.Namespace) -> bool:
    """Whether the input is one text."""
    return not arguments.text and arguments.format not in (None, TextFormat.TEXT.value)


async def _print_all(job: Job, texts: Iterable[str], total: int | None, output: Output) -> None:
    console = Console(stderr=True, soft_wrap=True)
    with Progress(console=console, disable=total == 1 or not console.is_terminal) as progress:
        task = progress.add_task("translating", total=total)
        done = 0
        async for results in translate_all(job, texts):
            for number, result in enumerate(results, start=done):
                _print(result, output)
                if result.flags:
                    message = f"yiwen translate: text {number} is flagged: {', '.join(result.flags)}"
                    progress.console.print(message, markup=False, highlight=False)
            done += len(results)
            output.file.flush()
            progress.advance(task, len(results))


def _print(result: Result, output: Output) -> None:
    if output.as_json:
        print(result.as_json(), file=output.file)
    elif output.as_document:
        output.file.write(result.translation)
    else:
        print(result.as_line(), file=output.file)


def _open_input(arguments: argparse.Namespace, stack: ExitStack) -> tuple[Iterable[str], int | None]:
    """The texts, and how many there are if that is known."""
    if arguments.text:
        return arguments.text, len(arguments.text)
    if _is_document(arguments):
        return (_whole(arguments.input),), 1
    if arguments.input in (None, "-"):
        return _lines(sys.stdin), None
    path = Path(arguments.input)
    with path.open(encoding="utf-8") as file:
        total = sum(1 for _ in file)
    return _lines(stack.enter_context(path.open(encoding="utf-8"))), total


def _open_output(arguments: argparse.Namespace, stack: ExitStack) -> TextIO:
    if arguments.output in (None, "-"):
        return sys.stdout
    newline = "" if _is_document(arguments) else None
    return stack.enter_context(Path(arguments.output).open("w", encoding="utf-8", newline=newline))


def _whole(name: str | None) -> str:
    """A document, with the line ends that it has."""
    data = sys.stdin.buffer.read() if name in (None, "-") else Path(str(name)).read_bytes()
    return data.decode()


def _lines(file: TextIO) -> Iterator[str]:
    return (line.removesuffix("\n") for line in file)


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
