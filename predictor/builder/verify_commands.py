"""Options of ``release verify``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from predictor.builder.errors import VerifyFailed
from predictor.builder.evaluate_commands import SET_HELP, Limit, Pairs, References
from protocol.command_line import FAILED
from protocol.release import TRANSLATION_FILE
from protocol.translation_spec import load_translation_spec

if TYPE_CHECKING:
    from predictor.builder.verify.compare import Answers, Prompts

VerifySet = Annotated[
    str | None, Option(metavar="SET", help=f"follow references and generate nothing: {SET_HELP}")
]


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Options of ``release verify``."""

    release: Annotated[Path, Argument(metavar="DIR", help="the release")]
    checkpoint: Annotated[
        Path | None, Option(metavar="PATH", help="compare with it in Hugging Face transformers")
    ] = None
    adapter: Annotated[
        Path | None, Option(metavar="DIR", help="of --checkpoint: the adapter that was merged into it")
    ] = None
    texts: Annotated[Path | None, Option(metavar="FILE", help="prompts, one text per line")] = None
    set: VerifySet = None
    references: References = None
    pairs: Pairs = None
    limit: Limit = None
    prompts: Annotated[int, Option(min=1, metavar="N", help="random prompts")] = 8
    longest: Annotated[int, Option(min=1, metavar="N", help="tokens of a random prompt")] = 48
    tokens: Annotated[int, Option(min=1, metavar="N", help="to generate for each prompt")] = 32
    seed: Annotated[int, Option(help="of the random prompts")] = 0
    json: Annotated[bool, Option("--json", help="print JSON")] = False


def run_verify(options: VerifyOptions) -> int:
    """Check every file, and compare with the checkpoint if one is named.

    Raises:
        BuildError, ReleaseError: the release cannot be read or compared.
    """
    from predictor.builder.progress import reporter_for
    from predictor.builder.release.integrity import find_faults

    if options.set is not None and options.checkpoint is None:
        raise VerifyFailed("--set says what to compare on: name the checkpoint too, with --checkpoint")
    with reporter_for(sys.stderr) as reporter:
        faults = find_faults(options.release, reporter)
    if not faults and options.checkpoint is not None:
        return _compare(options, options.checkpoint)
    if options.json:
        document = {"release": str(options.release), "faults": [str(fault) for fault in faults]}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for fault in faults or ["every file is as it was built"]:
            print(f"{options.release}: {fault}")
    return FAILED if faults else 0


def _compare(options: VerifyOptions, checkpoint: Path) -> int:
    from rich.console import Console

    from predictor.builder.progress import reporter_for
    from predictor.builder.verify.compare import compare
    from predictor.builder.verify.parity_report import print_report, write_report

    prompts, answers = _prompts_to_compare(options)
    with reporter_for(sys.stderr) as reporter:
        report = compare(
            options.release,
            checkpoint,
            prompts,
            answers=answers,
            tokens=options.tokens,
            measured_at=datetime.now(timezone.utc),
            reporter=reporter,
            adapter=options.adapter,
        )
    write_report(report, options.release)
    if options.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        print_report(report, Console())
    return 0 if report.passed else FAILED


def _prompts_to_compare(options: VerifyOptions) -> tuple[Prompts, Answers | None]:
    """Prompts, and the answers to follow where they are those of a test set."""
    from predictor.builder.verify.compare import PromptChoice, choose_prompts

    if options.set is None:
        choice = PromptChoice(
            count=options.prompts, longest=options.longest, seed=options.seed, texts=options.texts
        )
        return choose_prompts(options.release, choice), None
    from predictor.builder.evaluate.choose_set import SetChoice, read_set
    from predictor.builder.evaluate.reference_tokens import reference_tokens

    spec = load_translation_spec(options.release / TRANSLATION_FILE)
    texts, _ = read_set(SetChoice(options.set, options.references, options.pairs, options.limit), [spec])
    return reference_tokens(options.release, texts)
