"""``yiwen release``: its commands, their options and exit codes.

A command's modules are imported when it runs, so ``--help`` imports neither onnx nor numpy.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from typer import Argument, Option

from predictor.builder.errors import BrokenText, BuildError
from predictor.builder.evaluate_commands import EvaluateOptions, run_evaluate
from predictor.builder.length_commands import LengthOptions, run_lengths
from predictor.builder.plan_commands import PlanOptions, run_plan
from predictor.builder.transfer_commands import (
    FetchOptions,
    PullOptions,
    PushOptions,
    run_fetch,
    run_pull,
    run_push,
)
from predictor.builder.verify_commands import VerifyOptions, run_verify
from protocol.command_line import UNUSABLE, add_command, fail, new_app
from protocol.errors import YiwenError
from protocol.files import write_atomically
from protocol.messages import Formality
from protocol.release_documents import ReleaseError

if TYPE_CHECKING:
    from predictor.builder.progress import Reporter
    from predictor.builder.release.build import BuildRequest
    from protocol.release import Release

PRECISIONS = {"float32": "float32", "float16": "float16", "int8-weights": "int8", "int4-weights": "int4"}
"""The release's precision by the value of ``--precision``. int8 and int4 concern the weights only; an int8 plan
(``yiwen release plan``) also computes in int8."""

CPU_PACKAGES = ("babel", "jinja2", "onnx", "onnxruntime", "ml_dtypes", "safetensors", "sacrebleu")
"""Packages of the cpu extra that a build needs."""
OWN_EXTRAS = ("gguf", "sentencepiece")
"""Packages that a build needs for some checkpoints; the extra has the same name."""

Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Options of ``release build``."""

    checkpoint: Annotated[
        Path,
        Argument(metavar="CHECKPOINT", help="directory with config.json and safetensors, or a .gguf file"),
    ]
    output: Annotated[Path, Option("-o", "--output", metavar="DIR", help="the release; must not exist yet")]
    precision: Annotated[
        Literal["float32", "float16", "int8-weights", "int4-weights"], Option(help="of the weights")
    ] = "float32"
    block_size: Annotated[
        int | None, Option(metavar="N", help="int8, int4: neighbours that share a scale, 16 to 256")
    ] = None
    activations: Annotated[
        Literal["int8", "float32"], Option(help="int8, int4: what weights are multiplied with")
    ] = "int8"
    compensate: Annotated[
        bool, Option("--compensate", help="int4: make up for rounding errors, calibrated on texts (GPTQ)")
    ] = False
    calibration: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="of --compensate and --measure: texts, one per line: source TAB target TAB text, or the text alone "
            "(built-in ones)",
        ),
    ] = None
    calibration_tokens: Annotated[
        int, Option(min=1, metavar="N", help="of --compensate: most tokens to calibrate with")
    ] = 4096
    measure: Annotated[
        bool,
        Option("--measure", help="int8, int4: report what the precision costs, on texts of the calibration"),
    ] = False
    translation: Annotated[
        Path | None, Option(metavar="FILE", help="translation.json (the checkpoint's)")
    ] = None
    recipe: Annotated[
        str | None, Option(metavar="NAME", help="of a published model, in place of --translation")
    ] = None
    adapter: Annotated[
        Path | None, Option(metavar="DIR", help="a LoRA adapter to merge into the checkpoint")
    ] = None
    tokenizer: Annotated[
        Path | None,
        Option(
            metavar="PATH",
            help="of a GGUF file: the model's tokenizer.json or tokenizer.model (the file's own)",
        ),
    ] = None
    glossary: Annotated[
        Path | None, Option(metavar="FILE", help="glossary.json (the checkpoint's, if it has one)")
    ] = None
    name: Annotated[str | None, Option(help="for people (the checkpoint directory's)")] = None
    max_tokens: Annotated[
        int | None, Option(min=1, metavar="N", help="longest prompt and answer together, in tokens")
    ] = None
    force: Annotated[bool, Option("--force", help="replace a release that exists")] = False


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Options of ``release show``."""

    release: Annotated[Path, Argument(metavar="DIR", help="the release")]
    json: Annotated[bool, Option("--json", help="print JSON")] = False
    prompt: Annotated[str | None, Option(metavar="TEXT", help="show the prompt of a text instead")] = None
    to: Annotated[str | None, Option(metavar="LANGUAGE", help="of --prompt: target language")] = None
    source: Annotated[str | None, Option("--from", metavar="LANGUAGE", help="of --prompt: its language")] = (
        None
    )
    context: Annotated[str, Option(metavar="TEXT", help="of --prompt: what stands around the text")] = ""
    formality: Annotated[Formality, Option(help="of --prompt")] = Formality.DEFAULT
    term: Annotated[
        list[str] | None, Option(metavar="TERM=TRANSLATION", help="of --prompt; may be given several times")
    ] = None


@dataclass(frozen=True, kw_only=True)
class TemplateOptions:
    """Options of ``release template``."""

    checkpoint: Annotated[
        Path | None, Argument(metavar="[CHECKPOINT]", help="whose chat template is taken")
    ] = None
    languages: Annotated[str | None, Option(metavar="TAGS", help="such as en,zh,fr")] = None
    prompt: Annotated[str | None, Option(metavar="TEXT", help="the user's message, with {text}")] = None
    recipe: Annotated[str | None, Option(metavar="NAME", help="take a recipe, and no checkpoint")] = None
    output: Annotated[Path | None, Option("-o", "--output", metavar="FILE", help="write, not print")] = None


def _build(options: BuildOptions) -> int:
    from predictor.builder.progress import reporter_for
    from predictor.builder.release.build import BuildRequest, build_release
    from predictor.builder.weights.conversion import conversion_line

    with tempfile.TemporaryDirectory() as directory, reporter_for(sys.stderr) as reporter:
        request = BuildRequest(
            checkpoint=options.checkpoint,
            out=options.output,
            precision=PRECISIONS[options.precision],
            block_size=options.block_size,
            float_activations=options.activations == "float32",
            translation=_translation(options, Path(directory)),
            glossary=options.glossary,
            name=options.name,
            max_tokens=options.max_tokens,
            force=options.force,
            adapter=options.adapter,
            tokenizer=options.tokenizer,
        )
        built_at = datetime.now(timezone.utc)
        if options.compensate or options.measure:
            release = _build_measured(options, request, built_at, reporter)
        else:
            release = build_release(request, built_at=built_at, reporter=reporter)
    print(f"{options.output}: {release.name} {release.id}, {release.family}, {release.precision}")
    if (quantized := release.provenance.get("quantized_checkpoint")) is not None:
        print(conversion_line(quantized))
    return 0


def _build_measured(
    options: BuildOptions, request: BuildRequest, built_at: datetime, reporter: Reporter
) -> Release:
    from predictor.builder.int8.quantize import CalibrationConfig
    from predictor.builder.quantized.build import MeasuredRequest, build_measured
    from predictor.config import usable_cores

    calibration = CalibrationConfig(tokens=options.calibration_tokens, threads=usable_cores())
    measured = MeasuredRequest(request, options.compensate, options.calibration, calibration)
    release, _ = build_measured(measured, built_at=built_at, reporter=reporter)
    return release


def _translation(options: BuildOptions, directory: Path) -> Path | None:
    """The ``translation.json`` to build with; a recipe's is written into ``directory``."""
    if options.recipe is None:
        return options.translation
    from predictor.builder.release.recipes import load_recipe

    if options.translation is not None:
        raise BrokenText("--translation and --recipe both say how text becomes a prompt: leave one out")
    path = directory / f"{options.recipe}.json"  # messages name it
    path.write_text(_json_text(load_recipe(options.recipe).translation()), encoding="utf-8")
    return path


def _template(options: TemplateOptions) -> int:
    from predictor.builder.release.recipes import load_recipe

    if (options.recipe is None) == (options.checkpoint is None):
        raise BrokenText("name a CHECKPOINT with --languages, or a --recipe")
    if options.recipe is not None:
        document = load_recipe(options.recipe).translation()
    else:
        from predictor.builder.release.chat_template import DEFAULT_PROMPT, translation_from_chat_template

        assert options.checkpoint is not None
        tags = [tag.strip() for tag in (options.languages or "").split(",") if tag.strip()]
        document = translation_from_chat_template(options.checkpoint, tags, options.prompt or DEFAULT_PROMPT)
    if options.output is None:
        _print_json(document)
    else:
        try:
            write_atomically(options.output, _json_text(document) + "\n")
        except OSError as error:
            raise BrokenText(f"{options.output} cannot be written: {error}") from error
    return 0


def _show(options: ShowOptions) -> int:
    from rich.console import Console

    from predictor.builder.release.show import (
        PromptRequest,
        describe,
        describe_prompt,
        print_prompt,
        print_table,
    )

    if options.prompt is None:
        document, print_document = describe(options.release), print_table
    elif options.to is None:
        raise BrokenText("--prompt needs --to LANGUAGE")
    else:
        wanted = PromptRequest(
            options.prompt,
            options.to,
            options.source,
            options.context,
            options.formality,
            tuple(map(_term, options.term or ())),
        )
        document = describe_prompt(options.release, wanted)
        print_document = print_prompt
    if options.json:
        _print_json(document)
    else:
        print_document(document, Console())
    return 0


def _term(option: str) -> tuple[str, str]:
    term, equals, translation = option.partition("=")
    if not equals or not term or not translation:
        raise BrokenText("--term must be TERM=TRANSLATION")
    return term, translation


def _print_json(document: Mapping[str, Any]) -> None:
    print(_json_text(document))


def _json_text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _reported(name: str, run: Callable[[Options], int]) -> Callable[[Options], int]:
    """Wrap ``run``: an expected error becomes one line on stderr and exit code 2."""

    def reported(options: Options) -> int:
        try:
            return run(options)
        except (BuildError, ReleaseError, YiwenError) as error:
            return fail(f"release {name}", error, UNUSABLE)
        except ModuleNotFoundError as error:
            if error.name not in (*CPU_PACKAGES, *OWN_EXTRAS):
                raise
            extra = error.name if error.name in OWN_EXTRAS else "cpu"
            what = (
                f"{error.name} is not installed, but needed: pip install '.[{extra}]' in a checkout of Yiwen"
            )
            return fail(f"release {name}", what, UNUSABLE)

    return reported


app = new_app("Build, check, show, measure and move releases.")
add_command(
    app,
    "build",
    _reported("build", _build),
    BuildOptions,
    help="Build a release from a Hugging Face checkpoint.",
)
add_command(
    app, "plan", _reported("plan", run_plan), PlanOptions,
    help="Build TensorRT engines for this machine's GPU into a release.",
)  # fmt: skip
add_command(
    app, "verify", _reported("verify", run_verify), VerifyOptions,
    help="Check a release's files, or its answers against a checkpoint.",
)  # fmt: skip
add_command(
    app, "evaluate", _reported("evaluate", run_evaluate), EvaluateOptions,
    help="Score one or two releases on a test set.",
)  # fmt: skip
add_command(
    app, "show", _reported("show", _show), ShowOptions,
    help="Show identity, sizes, languages and reports of a release.",
)  # fmt: skip
add_command(
    app, "template", _reported("template", _template), TemplateOptions,
    help="Write translation.json from a checkpoint's chat template, or from a recipe.",
)  # fmt: skip
add_command(
    app, "lengths", _reported("lengths", run_lengths), LengthOptions,
    help="Measure how long correct translations are, for the guards of translation.json.",
)  # fmt: skip
add_command(
    app, "push", _reported("push", run_push), PushOptions,
    help="Push a release to an OCI registry.",
)  # fmt: skip
add_command(
    app, "pull", _reported("pull", run_pull), PullOptions,
    help="Pull a release from an OCI registry.",
)  # fmt: skip
add_command(
    app, "fetch", _reported("fetch", run_fetch), FetchOptions,
    help="Fetch a checkpoint or a release from a hub.",
)  # fmt: skip
