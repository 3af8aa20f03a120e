"""The v2 tensor tables: the public surface (text) and the internal one (token ids).

Letters: N texts or sequences in one request, S prompt tokens of the longest, T generated tokens of the longest.
-1 in a shape is N, S or T. Names and dtypes are those of the KServe v2 (Open Inference) protocol.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One row of a table, as ``GET /v2/models/{model}`` shows it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def describe(self) -> dict[str, object]:
        """The entry of the v2 model metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


# Public, on the transformer: text in, text out.
TEXT = TensorSpec("text", "BYTES", (-1,))
SOURCE = TensorSpec("source", "BYTES", (-1,), optional=True)
TARGET = TensorSpec("target", "BYTES", (-1,), optional=True)
CONTEXT = TensorSpec("context", "BYTES", (-1,), optional=True)
TRANSLATION = TensorSpec("translation", "BYTES", (-1,))
CONFIDENCE = TensorSpec("confidence", "FP32", (-1,))
CACHE = TensorSpec("cache", "BYTES", (-1,))
FLAGS = TensorSpec("flags", "BYTES", (-1,), optional=True)
ERROR = TensorSpec("error", "BYTES", (-1,), optional=True)

TRANSLATE_INPUTS = (TEXT, SOURCE, TARGET, CONTEXT)
"""``source``, ``target`` and ``context`` come as tensors of shape [1] or [N], or as request parameters of the same
name. The model metadata lists ``context`` where the release has a place for it."""
TRANSLATE_OUTPUTS = (TRANSLATION, SOURCE, CONFIDENCE, CACHE, FLAGS, ERROR, TARGET)
"""``flags`` holds comma-separated kinds (:attr:`protocol.messages.Translation.flags`), or the empty string, for each
text. It is there when a text is flagged, or when it is asked for by name. ``error`` holds JSON with ``code`` and
``error`` for a text without a translation, or the empty string; it is there with ``on_error=per_text``, or when it is
asked for by name. ``target`` holds the release's tag of the language that was served; it is there when the caller
wrote another one, or when it is asked for by name."""

# Internal, on the predictor: token ids in, token ids out.
INPUT_IDS = TensorSpec("input_ids", "INT32", (-1, -1))
INPUT_LENGTHS = TensorSpec("input_lengths", "INT32", (-1,))
MAX_NEW_TOKENS = TensorSpec("max_new_tokens", "INT32", (-1,), optional=True)
MAX_REPEATS = TensorSpec("max_repeats", "INT32", (-1,), optional=True)
OUTPUT_IDS = TensorSpec("output_ids", "INT32", (-1, -1))
OUTPUT_LENGTHS = TensorSpec("output_lengths", "INT32", (-1,))
LOGPROB = TensorSpec("logprob", "FP32", (-1,))
FINISH_REASON = TensorSpec("finish_reason", "BYTES", (-1,))

GENERATE_INPUTS = (INPUT_IDS, INPUT_LENGTHS, MAX_NEW_TOKENS, MAX_REPEATS)
"""``input_ids`` is right-padded; only the first ``input_lengths[n]`` ids of row n are read. ``max_new_tokens`` and
``max_repeats`` come as a tensor of shape [1] or [N], or as a request parameter of the same name."""
GENERATE_OUTPUTS = (OUTPUT_IDS, OUTPUT_LENGTHS, LOGPROB, FINISH_REASON)
"""``output_ids`` is right-padded with 0; the stop token is not part of it."""

# Request parameters. KServe's gRPC carries bool, int64 and string parameters only, so a float may come as text.
MARKUP_PARAMETERS = (
    "ignore_tags", "splitting_tags", "non_splitting_tags", "outline_detection", "translate_attributes",
    "translate_cdata",
)  # fmt: skip
"""Of HTML and XML (:mod:`protocol.codec.markup`)."""
TRANSLATE_PARAMETERS = (
    "source", "target", "max_new_tokens", "deadline_ms", "format", "glossary", "placeholders", "context",
    "formality", "join_lines", "split_sentences", *MARKUP_PARAMETERS,
)  # fmt: skip
BATCH_PARAMETERS = (*TRANSLATE_PARAMETERS, "on_error")
"""Of a request of several texts."""
GENERATE_PARAMETERS = (
    "release", "max_new_tokens", "max_repeats", "deadline_ms", "temperature", "top_p", "top_k", "seed",
)  # fmt: skip
