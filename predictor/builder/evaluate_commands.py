"""Options of ``release evaluate``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from predictor.builder.errors import EvaluationFailed
from predictor.errors import PredictorError
from protocol.files import write_atomically
from protocol.release import TRANSLATION_FILE
from protocol.translation_spec import load_translation_spec

SET_HELP = "FILE (.tsv, .jsonl, plain), flores:DIR, or a set of sacrebleu's"
References = Annotated[Path | None, Option(metavar="FILE", help="translations of a plain file's lines")]
Pairs = Annotated[
    str | None, Option(metavar="PAIRS", help="such as en-fr,en-zh (all that set and release have)")
]
Limit = Annotated[int | None, Option(min=1, metavar="N", help="most texts of a pair")]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of ``release evaluate``."""

    release: Annotated[Path, Argument(metavar="DIR", help="the release")]
    other: Annotated[
        Path | None, Argument(metavar="[DIR]", help="a second release, compared with the first")
    ] = None
    set: Annotated[str, Option(metavar="SET", help=SET_HELP)]
    references: References = None
    pairs: Pairs = None
    limit: Limit = None
    batch: Annotated[int, Option(min=1, metavar="N", help="texts at a time")] = 16
    threads: Annotated[int | None, Option(min=1, metavar="N", help="CPU threads (all)")] = None
    download: Annotated[
        bool, Option("--download", help="fetch a set or a model of COMET that is not on this machine")
    ] = False
    comet: Annotated[str | None, Option(metavar="MODEL", help="score with COMET as well")] = None
    comet_program: Annotated[str, Option(metavar="FILE", help="where comet-score is")] = "comet-score"
    output: Annotated[
        Path | None, Option("-o", "--output", metavar="FILE", help="write texts and answers, as JSON lines")
    ] = None
    json: Annotated[bool, Option("--json", help="print JSON")] = False


def run_evaluate(options: EvaluateOptions) -> int:
    """Translate the set with the releases in this process, and print scores.

    Raises:
        BuildError, ReleaseError: the set cannot be read, or a release cannot be run.
    """
    from rich.console import Console

    from predictor.builder.evaluate.choose_set import SetChoice, read_set
    from predictor.builder.evaluate.comet import CometModel, find_comet
    from predictor.builder.evaluate.evaluation import evaluate
    from predictor.builder.evaluate.evaluation_report import answer_lines, print_evaluation, to_json
    from predictor.builder.progress import reporter_for
    from predictor.config import usable_cores

    directories = [options.release, *([options.other] if options.other else [])]
    specs = [load_translation_spec(directory / TRANSLATION_FILE) for directory in directories]
    choice = SetChoice(
        options.set, options.references, options.pairs, options.limit, download=options.download
    )
    texts, skipped = read_set(choice, specs)
    comet = None
    if options.comet is not None:
        comet = CometModel(options.comet, options.comet_program, options.download)
        find_comet(comet)  # before an hour of translating
    try:
        with reporter_for(sys.stderr) as reporter:
            evaluation = evaluate(
                directories,
                texts,
                skipped,
                batch=options.batch,
                threads=options.threads or usable_cores(),
                comet=comet,
                reporter=reporter,
            )
    except PredictorError as error:
        raise EvaluationFailed(f"the release cannot be run: {error}") from error
    if options.output is not None:
        try:
            write_atomically(options.output, answer_lines(evaluation))
        except OSError as error:
            raise EvaluationFailed(f"{options.output} cannot be written: {error}") from error
    if options.json:
        print(json.dumps(to_json(evaluation), indent=2, ensure_ascii=False))
    else:
        print_evaluation(evaluation, Console())
    return 0
