"""`yiwen translate`: translates texts of the command line, a file or stdin through a running service.

Each line of plain text is one text; a file of HTML or XML is one text.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, TextIO

from rich.console import Console
from rich.progress import Progress
from typer import Argument, Option

from cli.service import ServiceUnreachable, TextResult, TranslateError, TranslateJob, translate_all
from cli.service_options import ServiceOptions
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app
from protocol.messages import OnError, TextFormat

DEFAULT_URL = "http://127.0.0.1:8080"
TEXTS_PER_REQUEST = 32
REQUESTS_IN_FLIGHT = 4


class OnTextError(str, Enum):
    """Effect of a text that cannot be translated on the others."""

    STOP = "stop"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class ResultOutput:
    """Where results are written, and how."""

    file: TextIO
    as_json: bool
    as_document: bool
    """Whether the only result is a document, which is written unchanged."""


@dataclass(frozen=True, kw_only=True)
class TranslateCommandOptions(ServiceOptions):
    """Options of `yiwen translate`."""

    text: Annotated[
        list[str] | None, Argument(metavar="TEXT", help="texts; if none, lines of -i or stdin")
    ] = None
    to: Annotated[str, Option(metavar="TAG", help="language wanted, e.g. zh")]
    source: Annotated[
        str | None, Option("--from", metavar="TAG", help="language of the texts (detected)")
    ] = None
    url: Annotated[str, Option(metavar="URL", help="of the service")] = DEFAULT_URL
    model: Annotated[
        str | None, Option(metavar="NAME", help="model name (the first one the service names)")
    ] = None
    input: Annotated[
        str | None, Option("-i", "--input", metavar="FILE", help="read texts from it; - is stdin")
    ] = None
    output: Annotated[
        str | None, Option("-o", "--output", metavar="FILE", help="write to it; - is stdout")
    ] = None
    json: Annotated[bool, Option("--json", help="print one JSON object per text")] = False
    format: Annotated[
        TextFormat | None, Option(help="of the texts (text); a file of html or xml is one text")
    ] = None
    glossary: Annotated[
        Path | None,
        Option(metavar="FILE", help="terms to translate in a given way, or to keep: docs/texts.md"),
    ] = None
    max_new_tokens: Annotated[
        int | None, Option(min=1, metavar="N", help="bound for each answer, in tokens")
    ] = None
    on_error: Annotated[
        OnTextError, Option(help="at a text that cannot be translated: stop, or go on without it")
    ] = OnTextError.STOP
    batch: Annotated[int, Option(min=1, metavar="N", help="texts per request")] = TEXTS_PER_REQUEST
    in_flight: Annotated[int, Option(min=1, metavar="N", help="requests at a time")] = REQUESTS_IN_FLIGHT


def run(arguments: TranslateCommandOptions) -> int:
    """Translate and print; returns the exit code."""
    if arguments.text and arguments.input:
        return fail("translate", "give texts or -i FILE, not both", UNUSABLE)
    try:
        job = _job(arguments)
        with ExitStack() as stack:
            texts, total = _open_input(arguments, stack)
            output = ResultOutput(
                _open_output(arguments, stack), arguments.json, as_document=_is_document(arguments)
            )
            failed = asyncio.run(_print_all(job, texts, total, output))
    except BrokenPipeError:  # the reader has closed the pipe, as in `yiwen translate ... | head`
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else the interpreter reports the broken pipe at its exit
        return FAILED
    except ServiceUnreachable as error:
        return fail("translate", error, UNUSABLE)
    except (TranslateError, OSError, UnicodeDecodeError) as error:
        return fail("translate", error, FAILED)
    if failed:
        kinds = ", ".join(f"{count} {code}" for code, count in failed.most_common())
        return fail("translate", f"{failed.total()} texts have no translation: {kinds}", FAILED)
    return 0


def _job(arguments: TranslateCommandOptions) -> TranslateJob:
    parameters = {
        "target": arguments.to,
        "source": arguments.source,
        "max_new_tokens": arguments.max_new_tokens,
        "format": arguments.format and arguments.format.value,
        "glossary": arguments.glossary.read_text(encoding="utf-8") if arguments.glossary else None,
        "on_error": OnError.PER_TEXT.value if arguments.on_error is OnTextError.SKIP else None,
    }
    return TranslateJob(
        url=arguments.url.rstrip("/"),
        headers=arguments.http_headers(),
        model=arguments.model,
        parameters={name: value for name, value in parameters.items() if value is not None},
        batch=arguments.batch,
        in_flight=arguments.in_flight,
    )


def _is_document(arguments: TranslateCommandOptions) -> bool:
    """Whether the input is one text."""
    return not arguments.text and arguments.format not in (None, TextFormat.TEXT)


async def _print_all(
    job: TranslateJob, texts: Iterable[str], total: int | None, output: ResultOutput
) -> Counter[str]:
    """Print results as they come; returns how many texts have no translation, by error code."""
    failed: Counter[str] = Counter()
    console = Console(stderr=True, soft_wrap=True)
    with Progress(console=console, disable=total == 1 or not console.is_terminal) as progress:
        task = progress.add_task("translating", total=total)
        done = 0
        async for results in translate_all(job, texts):
            for number, result in enumerate(results, start=done):
                _print(result, output)
                if result.error is not None:
                    failed[result.error["code"]] += 1
                for remark in _remarks(result):
                    message = f"yiwen translate: text {number} {remark}"
                    progress.console.print(message, markup=False, highlight=False)
            done += len(results)
            output.file.flush()
            progress.advance(task, len(results))
    return failed


def _remarks(result: TextResult) -> Iterator[str]:
    if result.flags:
        yield f"is flagged: {', '.join(result.flags)}"
    if result.error is not None:
        yield f"has no translation: {result.error['error']} ({result.error['code']})"


def _print(result: TextResult, output: ResultOutput) -> None:
    if output.as_json:
        print(result.as_json(), file=output.file)
    elif output.as_document:
        output.file.write(result.translation)
    else:
        print(result.as_line(), file=output.file)


def _open_input(arguments: TranslateCommandOptions, stack: ExitStack) -> tuple[Iterable[str], int | None]:
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


def _open_output(arguments: TranslateCommandOptions, stack: ExitStack) -> TextIO:
    if arguments.output in (None, "-"):
        return sys.stdout
    newline = "" if _is_document(arguments) else None
    return stack.enter_context(Path(arguments.output).open("w", encoding="utf-8", newline=newline))


def _whole(name: str | None) -> str:
    """A document, with its own line ends."""
    data = sys.stdin.buffer.read() if name in (None, "-") else Path(str(name)).read_bytes()
    return data.decode()


def _lines(file: TextIO) -> Iterator[str]:
    return (line.removesuffix("\n") for line in file)


app = new_app("Translate texts through a running service.")
add_command(app, "translate", run, TranslateCommandOptions, help="Translate texts through a running service.")
