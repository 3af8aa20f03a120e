"""``yiwen release build | plan | verify | show``: arguments in, calls out, exit codes. No logic of its own.

What a command needs is imported when it runs: the other commands of ``yiwen`` neither wait for it nor need onnx.
Exit codes: 0 done, 1 a release was checked and is not what it should be, 2 it could not be built or checked.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from predictor.builder.errors import BuildError
from predictor.builder.plan_commands import add_plan, run_plan
from protocol.release import ReleaseError

PRECISIONS = (
    "float32",
    "float16",
    "int8",
    "int4",
)  # those of predictor.builder.weights.decoder_matrices, which is not imported for a --help

CPU_PACKAGES = ("onnx", "onnxruntime", "ml_dtypes", "sacrebleu", "safetensors")
"""Which an installation without the cpu extra does not have."""

Commands = argparse._SubParsersAction  # the type that add_subparsers returns has no public name
Run = Callable[[argparse.Namespace], int]


def add_commands(subparsers: Commands[argparse.ArgumentParser]) -> None:
    """Mount ``release`` below a command line; each parsed command has ``run``, a function of the arguments."""
    release = subparsers.add_parser("release", help="build, check and show releases")
    commands = release.add_subparsers(dest="release_command", required=True, metavar="COMMAND")
    _add_build(commands)
    _add_plan(commands)
    _add_verify(commands)
    _add_show(commands)


def _add_build(commands: Commands[argparse.ArgumentParser]) -> None:
    build = commands.add_parser("build", help="from a Hugging Face checkpoint to a release")
    build.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="directory with config.json and safetensors"
    )
    build.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the release; must not exist yet"
    )
    build.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the weights")
    build.add_argument(
        "--translation", type=Path, metavar="FILE", help="default: the checkpoint's translation.json"
    )
    build.add_argument(
        "--glossary",
        type=Path,
        metavar="FILE",
        help="default: the checkpoint's glossary.json, if there is one",
    )
    build.add_argument("--name", help="for people; default: the checkpoint directory's")
    build.add_argument(
        "--max-tokens", type=_positive, metavar="N", help="longest prompt and answer together, in tokens"
    )
    build.add_argument("--force", action="store_true", help="replace a release that is there already")
    build.set_defaults(run=_reported(_build))


def _add_plan(commands: Commands[argparse.ArgumentParser]) -> None:
    plan = commands.add_parser("plan", help="build TensorRT engines for this machine's GPU into a release")
    add_plan(plan)
    plan.set_defaults(run=_reported(run_plan))


def _add_verify(commands: Commands[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify", help="check a release's files, or its answers against a checkpoint"
    )
    verify.add_argument("release", type=Path, metavar="DIR", help="the release")
    verify.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="compare with it in Hugging Face transformers"
    )
    verify.add_argument("--texts", type=Path, metavar="FILE", help="prompts, one text per line")
    verify.add_argument("--prompts", type=_positive, default=8, metavar="N", help="random prompts")
    verify.add_argument(
        "--longest", type=_positive, default=48, metavar="N", help="tokens of a random prompt"
    )
    verify.add_argument(
        "--tokens", type=_positive, default=32, metavar="N", help="to generate for each prompt"
    )
    verify.add_argument("--seed", type=int, default=0, help="of the random prompts")
    verify.set_defaults(run=_reported(_verify))


def _add_show(commands: Commands[argparse.ArgumentParser]) -> None:
    show = commands.add_parser("show", help="identity, sizes, languages and reports of a release")
    show.add_argument("release", type=Path, metavar="DIR", help="the release")
    show.add_argument("--json", action="store_true", help="for scripts")
    show.set_defaults(run=_reported(_show))


def _build(arguments: argparse.Namespace) -> int:
    from predictor.builder.progress import reporter_for
    from predictor.builder.release.build import BuildRequest, build_release

    request = BuildRequest(
        checkpoint=arguments.checkpoint,
        out=arguments.out,
        precision=arguments.precision,
        translation=arguments.translation,
        glossary=arguments.glossary,
        name=arguments.name,
        max_tokens=arguments.max_tokens,
        force=arguments.force,
    )
    with reporter_for(sys.stderr) as reporter:
        release = build_release(request, built_at=datetime.now(timezone.utc), reporter=reporter)
    print(f"{arguments.out}: {release.name} {release.id}, {release.family}, {release.precision}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from predictor.builder.progress import reporter_for
    from predictor.builder.release.integrity import find_faults

    with reporter_for(sys.stderr) as reporter:
        faults = find_faults(arguments.release, reporter)
    for fault in faults:
        print(f"{arguments.release}: {fault}")
    if faults:
        return 1
    if arguments.checkpoint is None:
        print(f"{arguments.release}: every file is as it was built")
        return 0
    return _compare(arguments)


def _compare(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from predictor.builder.progress import reporter_for
    from predictor.builder.verify.compare import PromptChoice, choose_prompts, compare
    from predictor.builder.verify.parity_report import print_report, write_report

    choice = PromptChoice(
        count=arguments.prompts, longest=arguments.longest, seed=arguments.seed, texts=arguments.texts
    )
    with reporter_for(sys.stderr) as reporter:
        report = compare(
            arguments.release,
            arguments.checkpoint,
            choose_prompts(arguments.release, choice),
            tokens=arguments.tokens,
            measured_at=datetime.now(timezone.utc),
            reporter=reporter,
        )
    write_report(report, arguments.release)
    print_report(report, Console())
    return 0 if report.passed else 1


def _show(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from predictor.builder.release.show import describe, print_table

    document = describe(arguments.release)
    if arguments.json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print_table(document, Console())
    return 0


def _reported(run: Run) -> Run:
    """Turn an expected error into one line and exit code 2."""

    @functools.wraps(run)
    def reported(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments)
        except (BuildError, ReleaseError) as error:
            print(f"yiwen release {arguments.release_command}: {error}", file=sys.stderr)
            return 2
        except ModuleNotFoundError as error:
            if error.name not in CPU_PACKAGES:
                raise
            what = f"{error.name} is not installed, but needed: pip install 'yiwen[cpu]'"
            print(f"yiwen release {arguments.release_command}: {what}", file=sys.stderr)
            return 2

    return reported


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"{value} is not positive")
    return value
