"""A release's answers to texts, generated greedily in the runner that serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from predictor.builder.evaluate.parallel_texts import ParallelText
from predictor.builder.int8.greedy import generate_greedily
from predictor.builder.int8.prompts import encode_prompt
from predictor.builder.progress import Reporter
from predictor.runners.onnx_runtime import OnnxRuntimeRunner
from protocol.prompt_encoder import PromptEncoder
from protocol.release import load_release


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one text."""

    text: str
    """One line."""
    finished: bool
    """Whether it ends by a stop token, and not at its budget of tokens."""


def translate_texts(
    directory: Path, texts: Sequence[ParallelText], *, batch: int, threads: int, reporter: Reporter
) -> list[Answer | None]:
    """Translate each text as one prompt; None for one that the release refuses, as too long for instance.

    Args:
        directory: of the release.
        texts: in pairs of the release.
        batch: texts at a time.
        threads: of ONNX Runtime.
        reporter: of the progress, in bytes of the texts.

    Raises:
        ReleaseError, StartupError, RunnerError: the release cannot be run.
    """
    release = load_release(directory)
    encoder = PromptEncoder.load(directory)
    prompts = [encode_prompt(encoder, each.pair, each.text) for each in texts]
    # Texts of a batch should be of one length: it takes as long as its longest answer.
    order = sorted((-len(prompt.token_ids), index) for index, prompt in enumerate(prompts) if prompt)
    reporter.begin(
        f"translate with {directory.name}", sum(len(texts[index].text.encode()) for _, index in order)
    )
    answers: list[Answer | None] = [None] * len(texts)
    runner = OnnxRuntimeRunner(directory, release, slots=batch, threads=threads, spin=False)
    try:
        for first in range(0, len(order), batch):
            indices = [index for _, index in order[first : first + batch]]
            outputs = generate_greedily(
                runner, [prompt for index in indices if (prompt := prompts[index])], release.stop_token_ids
            )
            for index, output in zip(indices, outputs, strict=True):
                line = " ".join(encoder.decode(output.token_ids).split())
                answers[index] = Answer(line, output.token_ids[-1] in release.stop_token_ids)
                reporter.advance(len(texts[index].text.encode()))
    finally:
        runner.close()
    return answers
