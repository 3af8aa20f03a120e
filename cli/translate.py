"""`yiwen translate`: translates texts of the command line, a file or stdin through a running service.

Each line of plain text is one text; what the texts of other files are is said in :mod:`documents`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.journal import Journal, JournalError
from cli.service import ServiceUnreachable, TranslateError, TranslateJob
from cli.service_options import ServiceOptions
from cli.translate_input import LineSource, TextSource, open_source, texts_of_arguments
from cli.translate_output import FileOutput, Output, open_output, renderer_of
from cli.translate_run import RunSummary, TranslateRun
from documents.formats import BINARY, FileFormat, format_of
from documents.interface import DocumentLanguages, FileFormatError
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app
from protocol.messages import Formality, OnError, TextFormat

DEFAULT_URL = "http://127.0.0.1:8080"
TEXTS_PER_REQUEST = 32
REQUESTS_IN_FLIGHT = 4


class OnTextError(str, Enum):
    """Effect of a text that cannot be translated on the others."""

    STOP = "stop"
    SKIP = "skip"


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
        str | None,
        Option(
            "-o", "--output", metavar="FILE", help="write to it, when all is there; - is stdout; may be -i's"
        ),
    ] = None
    json: Annotated[bool, Option("--json", help="print one JSON object per text")] = False
    format: Annotated[FileFormat | None, Option(help="of the texts (by the name of -i, else text)")] = None
    join_lines: Annotated[
        bool, Option("--join-lines", help="lines of a paragraph of text, broken for width, are one text")
    ] = False
    glossary: Annotated[
        Path | None,
        Option(metavar="FILE", help="terms to translate in a given way, or to keep: docs/texts.md"),
    ] = None
    context: Annotated[
        str | None,
        Option(metavar="TEXT", help="text around the texts, which is not translated (what -i says of each)"),
    ] = None
    formality: Annotated[Formality, Option(help="how formal; as far as the release can be asked for it")] = (
        Formality.DEFAULT
    )
    max_new_tokens: Annotated[
        int | None, Option(min=1, metavar="N", help="bound for each answer, in tokens")
    ] = None
    on_error: Annotated[
        OnTextError, Option(help="at a text that cannot be translated: stop, or go on without it")
    ] = OnTextError.STOP
    resume: Annotated[
        bool, Option("--resume", help="go on with a run to the same -o that was interrupted")
    ] = False
    batch: Annotated[int, Option(min=1, metavar="N", help="texts per request, if they are short")] = (
        TEXTS_PER_REQUEST
    )
    in_flight: Annotated[int, Option(min=1, metavar="N", help="requests at a time")] = REQUESTS_IN_FLIGHT


def run(arguments: TranslateCommandOptions) -> int:
    """Translate and write; returns the exit code."""
    fault = _usage_fault(arguments)
    if fault:
        return fail("translate", fault, UNUSABLE)
    try:
        summary = _translate(arguments)
    except BrokenPipeError:  # the reader has closed the pipe, as in `yiwen translate ... | head`
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else the interpreter reports the broken pipe at its exit
        return FAILED
    except (ServiceUnreachable, JournalError) as error:
        return fail("translate", error, UNUSABLE)
    except (TranslateError, FileFormatError, OSError, UnicodeError) as error:
        return fail("translate", error, FAILED)
    if summary.failed:
        kinds = ", ".join(f"{count} {code}" for code, count in summary.failed.most_common())
        return fail("translate", f"{summary.failed.total()} texts have no translation: {kinds}", FAILED)
    return 0


def _usage_fault(arguments: TranslateCommandOptions) -> str | None:
    """What is wrong with the options together."""
    if arguments.text and arguments.input:
        return "give texts or -i FILE, not both"
    if arguments.text and _text_format(arguments) is None:
        return f"--format {arguments.format and arguments.format.value} is a format of files; give -i FILE"
    kind = arguments.format or format_of(arguments.input or "")
    to_terminal = arguments.output in (None, "-") and sys.stdout.isatty() and not arguments.json
    if kind in BINARY and to_terminal:
        return f"a {kind.value} file is no text for a terminal: give -o FILE"
    if arguments.join_lines and kind is not FileFormat.TEXT:
        return f"--join-lines is for plain text; lines of {kind.value} are joined where its rules say so"
    if arguments.resume and (arguments.output in (None, "-") or arguments.text):
        return "--resume needs -i FILE or stdin, and -o FILE"
    return None


def _text_format(arguments: TranslateCommandOptions) -> TextFormat | None:
    """Format of the texts of the command line; None if only files have it."""
    name = (arguments.format or FileFormat.TEXT).value
    return next((each for each in TextFormat if each.value == name), None)


def _translate(arguments: TranslateCommandOptions) -> RunSummary:
    job = _job(arguments)
    source = _source(arguments)
    output = open_output(arguments.output)
    with ExitStack() as stack:
        journal = _journal(arguments, job, output, stack)
        run = TranslateRun(
            job=job,
            source=source,
            renderer=renderer_of(source, as_json=arguments.json),
            output=output,
            journal=journal,
            summarizes=not arguments.text,
        )
        try:
            return asyncio.run(run.run())
        except (TranslateError, OSError, KeyboardInterrupt):
            if journal is not None and len(journal):
                print(
                    f"yiwen translate: {len(journal)} translations are kept in {journal.path}: "
                    "the same command with --resume goes on with them",
                    file=sys.stderr,
                )
            raise


def _source(arguments: TranslateCommandOptions) -> TextSource:
    if arguments.text:
        return texts_of_arguments(arguments.text, _text_format(arguments) or TextFormat.TEXT)
    languages = DocumentLanguages(arguments.to, arguments.source)
    try:
        source = open_source(arguments.input, arguments.format, languages)
    except FileFormatError as error:
        raise FileFormatError(f"{arguments.input or 'stdin'}: {error}") from error
    if arguments.join_lines and isinstance(source, LineSource):
        return source.by_paragraphs()
    return source


def _journal(
    arguments: TranslateCommandOptions, job: TranslateJob, output: Output, stack: ExitStack
) -> Journal | None:
    """The journal of a run that writes a file."""
    if arguments.text or not isinstance(output, FileOutput):
        return None
    journal = Journal(output.path, job, resume=arguments.resume)
    if not arguments.resume and journal.path.exists():
        message = f"{journal.path} of an interrupted run is replaced; --resume would go on with it"
        print(f"yiwen translate: {message}", file=sys.stderr)
    return stack.enter_context(journal)


def _job(arguments: TranslateCommandOptions) -> TranslateJob:
    parameters = {
        "target": arguments.to,
        "source": arguments.source,
        "max_new_tokens": arguments.max_new_tokens,
        "glossary": arguments.glossary.read_text(encoding="utf-8") if arguments.glossary else None,
        "context": arguments.context,
        "formality": None if arguments.formality is Formality.DEFAULT else arguments.formality.value,
        "join_lines": arguments.join_lines or None,
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


app = new_app("Translate texts through a running service.")
add_command(app, "translate", run, TranslateCommandOptions, help="Translate texts through a running service.")
