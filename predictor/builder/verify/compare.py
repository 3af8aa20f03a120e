"""Compares a release with its checkpoint: ONNX Runtime against Hugging Face transformers in float32.

The release generates greedily for prompts of different lengths, in the runner that serves it: padded prefills, then
decode steps at different positions. Or it is given answers, and says at every position what it would have chosen. The
checkpoint then runs each prompt with the same tokens, which gives its own choice and the log-probabilities of the
release's candidates at every position.

onnxruntime, transformers and torch are imported when they are used. The report:
:mod:`predictor.builder.verify.parity_report`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from predictor.batch import Batch
from predictor.builder.checkpoint.lora import load_adapter, merge_adapter
from predictor.builder.checkpoint.tensors import Checkpoint, open_checkpoint
from predictor.builder.errors import VerifyFailed
from predictor.builder.progress import Reporter
from predictor.builder.release.checkpoint_source import checkpoint_directory
from predictor.builder.verify.agreement import Continuation, mean_figures, measure_agreement
from predictor.builder.verify.following import Answers as Answers
from predictor.builder.verify.following import Prompts as Prompts
from predictor.builder.verify.following import follow_answers
from predictor.builder.verify.parity_report import ParityReport
from predictor.runners.base import execute
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.prompt_errors import TextTooLong, UnencodableText
from protocol.release import Release, load_release

FOLLOWED = 16
"""Given answers that are followed at a time."""


@dataclass(frozen=True, slots=True)
class GeneratedTokens:
    """The release's answers, one row per prompt; T tokens each, stop tokens ignored."""

    ids: npt.NDArray[np.int32]
    """[B, T, K] candidates, best first; the first one was taken."""
    logprobs: npt.NDArray[np.float32]
    """[B, T, K]."""


@dataclass(frozen=True, slots=True)
class PromptChoice:
    """Prompts to compare on."""

    count: int
    """Prompts of random ids."""
    longest: int
    """Tokens of the longest one."""
    seed: int
    texts: Path | None = None
    """A file with one text per line, as well."""


class ReleaseGenerator:
    """Greedy generation with a release in the runner that serves it."""

    def __init__(self, directory: Path, *, threads: int = 0) -> None:
        try:
            from predictor.runners.onnx_runtime import OnnxRuntimeRunner
        except ImportError as error:
            raise _missing("onnxruntime", "cpu") from error
        self._create_runner = OnnxRuntimeRunner
        self._directory = directory
        self._release = load_release(directory)
        self._threads = threads

    def generate(self, prompts: Prompts, tokens: int) -> GeneratedTokens:
        """Generate ``tokens`` tokens after each prompt (int64 [S], S >= 1), all prompts in one batch."""
        rows, lengths = len(prompts), np.array([len(prompt) for prompt in prompts])
        runner = self._create_runner(
            self._directory, self._release, slots=rows, threads=self._threads, spin=False
        )
        steps = [execute(runner, Batch.of_prompts(range(rows), [tuple(p.tolist()) for p in prompts]))]
        for done in range(tokens - 1):
            newest = steps[-1].candidate_ids[:, 0]
            steps.append(execute(runner, Batch.of_tokens(np.arange(rows), newest, lengths + done)))
        runner.close()
        return GeneratedTokens(
            np.stack([step.candidate_ids for step in steps], axis=1),
            np.stack([step.candidate_logprobs for step in steps], axis=1),
        )

    def follow(self, prompts: Prompts, answers: Answers) -> list[Continuation]:
        """What the release would choose at each position of given answers.

        Args:
            prompts: int64 [S] each, S >= 1.
            answers: of each prompt, int64 [T], T >= 1.
        """
        slots = min(len(prompts), FOLLOWED)
        runner = self._create_runner(
            self._directory, self._release, slots=slots, threads=self._threads, spin=False
        )
        found = follow_answers(runner, prompts, answers)
        runner.close()
        return found


def compare(
    directory: Path,
    checkpoint: Path,
    prompts: Prompts,
    *,
    tokens: int,
    measured_at: datetime,
    reporter: Reporter,
    adapter: Path | None = None,
    answers: Answers | None = None,
) -> ParityReport:
    """Compare a release with its checkpoint on greedy tokens after each prompt, or on given answers.

    Args:
        directory: of the release.
        checkpoint: its directory, or a GGUF file.
        prompts: token ids, int64 [S] each.
        tokens: number of tokens to generate after each prompt.
        measured_at: for the report.
        reporter: of the progress.
        adapter: directory of the LoRA adapter that the release was built with.
        answers: int64 [T] of each prompt, to follow and not to generate; ``tokens`` is then unused.

    Raises:
        VerifyFailed: the release is of another checkpoint, the prompts do not fit it, or a library is missing.
        ReleaseError, BrokenCheckpoint: one of the two cannot be read.
    """
    release = load_release(directory)
    lengths = [tokens] * len(prompts) if answers is None else [len(answer) for answer in answers]
    with checkpoint_directory(checkpoint, with_tokenizer=False) as source:
        _check_source(release, source, adapter, reporter)
        _check_prompts(release, prompts, lengths)
        reference = _Reference(source, adapter)
    generator = ReleaseGenerator(directory)
    continuations = (
        _generated(generator.generate(prompts, tokens))
        if answers is None
        else generator.follow(prompts, answers)
    )
    reporter.begin("compare tokens", sum(lengths))
    agreements = []
    for prompt, continuation in zip(prompts, continuations, strict=True):
        wanted = reference.logprobs(prompt, continuation.token_ids)
        agreements.append(measure_agreement(wanted, continuation))
        reporter.advance(len(continuation.token_ids))
    return ParityReport(
        release=release.id,
        precision=release.precision,
        prompts=len(prompts),
        tokens=sum(lengths),
        **mean_figures(agreements),
        followed="generated tokens" if answers is None else "references",
        versions={name: version(name) for name in ("numpy", "onnxruntime", "torch", "transformers")},
        measured_at=measured_at.isoformat(timespec="seconds"),
    )


def _generated(tokens: GeneratedTokens) -> list[Continuation]:
    return [
        Continuation(ids[:, 0].astype(np.int64), ids, logprobs)
        for ids, logprobs in zip(tokens.ids, tokens.logprobs, strict=True)
    ]


def choose_prompts(directory: Path, choice: PromptChoice) -> Prompts:
    """The prompts to compare a release on; rows of a batch have different lengths.

    Raises:
        ReleaseError: the release cannot be read.
        VerifyFailed: the file of texts cannot be read, holds no line, or holds a text that the release does not take.
    """
    vocab = load_release(directory).decoder.vocab
    rng = np.random.default_rng(choice.seed)
    lengths = rng.integers(1, choice.longest + 1, choice.count)
    prompts = [rng.integers(0, vocab, length) for length in lengths]
    return prompts if choice.texts is None else [*prompts, *_text_prompts(directory, choice.texts)]


def _text_prompts(directory: Path, texts: Path) -> Prompts:
    """The lines of a file as prompts of the release's first language pair, with the ids that are served."""
    try:
        lines = [line for line in texts.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise VerifyFailed(f"{texts} cannot be read as UTF-8 text: {error}") from error
    if not lines:
        raise VerifyFailed(f"{texts} holds no text: one text per line")
    encoder = PromptEncoder.load(directory)
    pair = encoder.spec.pairs[0]
    try:
        prompts = encoder.encode([PromptText(line, *pair, index) for index, line in enumerate(lines)])
    except (TextTooLong, UnencodableText) as error:
        raise VerifyFailed(f"{texts}, {error}") from error
    return [np.array(prompt.token_ids, np.int64) for prompt in prompts]


class _Reference:
    """The checkpoint in Hugging Face transformers."""

    def __init__(self, checkpoint: Path, adapter: Path | None) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise _missing(error.name or "torch", "dev") from error
        self._torch = torch
        library: Any = transformers  # its functions carry no types
        library.utils.logging.disable_progress_bar()
        opened = open_checkpoint(checkpoint)
        if opened.packed:
            model = self._with_our_numbers(library, opened)
        else:
            model = library.AutoModelForCausalLM.from_pretrained(
                str(checkpoint), dtype=torch.float32, local_files_only=True
            )
        self._model = model.eval()
        for name, update in ({} if adapter is None else load_adapter(adapter)).items():
            self._model.get_parameter(name).data += torch.from_numpy(update.rows(0, update.shape[0]))

    def _with_our_numbers(self, library: Any, opened: Checkpoint) -> Any:  # noqa: ANN401 - has no types
        """A model with the numbers of a quantized checkpoint as our own readers read them.

        transformers reads most forms only with further libraries, and with a GPU.
        """
        config = library.AutoConfig.from_pretrained(str(opened.directory), local_files_only=True)
        for holder in (config, getattr(config, "text_config", config)):
            if hasattr(holder, "quantization_config"):
                del holder.quantization_config
        model = library.AutoModelForCausalLM.from_config(config, dtype=self._torch.float32)
        parameters = dict(model.named_parameters())
        for name in opened.tensors:
            renamed = re.sub(
                r"^language_model\.(model\.)?", "model.language_model.", name
            )  # before transformers 4.52
            values = parameters.pop(name, None)
            values = parameters.pop(renamed, None) if values is None else values
            if values is None:
                continue  # of a tied vocabulary, or a buffer
            values.data.copy_(self._torch.from_numpy(np.concatenate(list(opened.rows(name)))))
        if parameters:
            raise VerifyFailed(
                f"{opened.directory}: transformers' model has {min(parameters)}, the checkpoint has not"
            )
        return model

    def logprobs(
        self, prompt: npt.NDArray[np.int64], answer: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """float64 [T, V]: before each token of ``answer`` (int64 [T]), given the prompt and the tokens before it."""
        torch = self._torch
        sequence = torch.from_numpy(np.concatenate((prompt, answer[:-1])))[None]
        with torch.no_grad():
            logits = self._model(sequence, logits_to_keep=len(answer)).logits[0]
        logprobs: npt.NDArray[np.float64] = torch.log_softmax(logits.double(), dim=-1).numpy()
        return logprobs


def _check_source(release: Release, checkpoint: Path, adapter: Path | None, reporter: Reporter) -> None:
    opened = open_checkpoint(checkpoint)
    if adapter is not None:
        opened = merge_adapter(opened, adapter)
    elif "adapter" in release.provenance:
        raise VerifyFailed(
            f"release {release.id} was built with the adapter {release.provenance['adapter']}: name it with --adapter"
        )
    reporter.begin("read checkpoint", opened.bytes())
    if opened.digest(reporter.advance) != release.provenance.get("checkpoint_sha256"):
        raise VerifyFailed(
            f"release {release.id} was not built from {checkpoint}: its checkpoint_sha256 is another one"
        )


def _check_prompts(release: Release, prompts: Prompts, lengths: Sequence[int]) -> None:
    prompt, answer = max(zip(map(len, prompts), lengths, strict=True), key=sum)
    if prompt + answer > release.limits.max_sequence_tokens:
        raise VerifyFailed(
            f"the longest prompt and its {answer} tokens make {prompt + answer}, but release {release.id} takes "
            f"{release.limits.max_sequence_tokens}: use shorter texts or fewer --tokens"
        )


def _missing(name: str, extra: str) -> VerifyFailed:
    return VerifyFailed(f"{name} is not installed: pip install '.[{extra}]' in a checkout of Yiwen")
