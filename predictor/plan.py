"""The file format of TensorRT plans: ``plans/NAME.plan.json`` describes ``plans/NAME.plan``.

::

    <release>/plans/
      sm90-132sm-trt10.16.1.11-float16.plan        engines, then tensors, each at a multiple of 4096
      sm90-132sm-trt10.16.1.11-float16.plan.json   written last: if it exists, the plan is complete
      timing-sm90-132sm-trt10.16.1.11.cache        TensorRT's timings, for the next build on such a GPU

A plan is for one kind of GPU and one release of TensorRT, which its name holds. Its engines are matrix products, one
per role and type of weights, with the weights as input. All tensors follow the engines in one range of bytes: a
loader copies ``[tensors_offset, nbytes)`` to the GPU, and each tensor is at its offset in that copy.

Written by :mod:`predictor.builder.plans.build`, read by :mod:`predictor.runners.tensorrt`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from predictor.errors import StartupError
from protocol.files import write_atomically
from protocol.release import PLANS_DIR

PLAN_FORMAT = 2
ALIGNMENT = 4096
"""Bytes. A page: engines and tensors can be mapped and copied directly, and TensorRT's 256 is a divisor."""

FAMILIES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Architectures that the kernels were compared with transformers on, on a GPU."""

ITEM_BYTES = {"float16": 2, "float32": 4, "int8": 1, "int32": 4}
"""By type of a tensor, as numpy names it."""

_KEY = re.compile(r"[0-9A-Za-z._]+")
_log = logging.getLogger(__name__)


def family_fault(family: str) -> str | None:
    """Why a release of this architecture can have no plan, and what to do instead; None if it can."""
    if family in FAMILIES:
        return None
    return (
        f"TensorRT has not been shown to run {family}; it runs {', '.join(FAMILIES)}: "
        "serve it with YIWEN_BACKEND=onnxruntime"
    )


@dataclass(frozen=True, slots=True)
class PlanKey:
    """The GPU, TensorRT and precision of a plan. A machine runs the plans of its own GPU and TensorRT."""

    compute_capability: tuple[int, int]
    """Major and minor, e.g. (9, 0)."""
    sm_count: int
    """Multiprocessors: TensorRT chooses kernels by it, and a MIG slice has fewer than the whole GPU."""
    tensorrt: str
    """Release of TensorRT: ``tensorrt.__version__``."""
    precision: str
    """float16, int8 or fp8."""

    @property
    def gpu(self) -> str:
        """The kind of GPU, e.g. ``sm90-132sm``."""
        major, minor = self.compute_capability
        return f"sm{major}{minor}-{self.sm_count}sm"

    @property
    def name(self) -> str:
        """Of the plan's files, e.g. ``sm90-132sm-trt10.16.1.11-float16``."""
        return f"{self.gpu}-trt{self.tensorrt}-{self.precision}"


@dataclass(frozen=True, slots=True)
class PlanTensor:
    """A weight or a table, C order."""

    offset: int
    """Byte of the plan file, a multiple of :data:`ALIGNMENT`."""
    shape: tuple[int, ...]
    dtype: str
    """One of :data:`ITEM_BYTES`."""

    @property
    def nbytes(self) -> int:
        """Bytes without padding."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class PlanBlob:
    """A serialised engine inside the plan file."""

    offset: int
    nbytes: int


class OptimizationProfile(NamedTuple):
    """Range of an engine's dynamic dimension that one optimization profile covers, both ends included."""

    min: int
    opt: int
    """The size TensorRT chose kernels for."""
    max: int


@dataclass(frozen=True, slots=True)
class TensorRTPlan:
    """``NAME.plan.json``."""

    key: PlanKey
    release_id: str
    """Of the release whose weights these are."""
    gpu_name: str
    driver: str
    """The GPU and the driver's release it was built with; for people."""
    max_tokens: int
    """Most tokens of one pass through the layers."""
    max_rows: int
    """Most rows of one pass through the vocabulary."""
    norm_eps: float
    """Of every RMS norm."""
    profiles: Mapping[str, tuple[OptimizationProfile, ...]]
    """By engine, ascending, without gaps from 1 to ``max_tokens``, of the vocabulary's to ``max_rows``."""
    engines: Mapping[str, PlanBlob]
    """By role and type of the weights: see :func:`engine_name`."""
    tensors: Mapping[str, PlanTensor]
    """By name; each is stored once."""
    weights: Mapping[str, str]
    """Key of ``tensors`` by the name that :mod:`predictor.segment_index` has for a weight: the same one, but for
    matrices that are tied. What a decoder does not have, e.g. a bias, is absent."""
    rotary: tuple[str, str]
    """Keys of the tables of cosines and sines, float32 [positions, head_dim / 2] each."""
    tensors_offset: int
    """Byte of the plan file where the tensors begin."""
    nbytes: int
    """Size of the plan file."""
    sha256: str
    """Of the plan file, hexadecimal."""
    built_at: str
    """ISO 8601."""
    build_seconds: float
    quantized: tuple[str, ...] = ()
    """Keys of the matrices that are not in float16, sorted."""

    def to_json(self) -> dict[str, Any]:
        """The document that :func:`read_plan` reads."""
        return {"format": PLAN_FORMAT, **dataclasses.asdict(self)}

    def find(self, weight: str) -> PlanTensor | None:
        """The tensor of a weight, e.g. ``layers.3.mlp.down``; None if the decoder has no such weight."""
        key = self.weights.get(weight)
        return None if key is None else self.tensors[key]


def engine_name(role: str, dtype: str) -> str:
    """Name of the engine for the weights of ``role`` in ``dtype``: ``qkv.float16``."""
    return f"{role}.{dtype}"


def align(offset: int) -> int:
    """The next multiple of :data:`ALIGNMENT`."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def plan_path(directory: Path, key: PlanKey) -> Path:
    """Where a release keeps the plan for ``key``; its JSON has ``.json`` appended.

    Args:
        directory: of the release.
        key: the GPU, TensorRT and precision.
    """
    return directory / PLANS_DIR / f"{key.name}.plan"


def plan_json_path(directory: Path, key: PlanKey) -> Path:
    """The JSON beside :func:`plan_path`."""
    return directory / PLANS_DIR / f"{key.name}.plan.json"


def write_plan(directory: Path, plan: TensorRTPlan) -> None:
    """Write ``NAME.plan.json`` atomically. The plan file must be in place before.

    Raises:
        OSError: it cannot be written.
    """
    path = plan_json_path(directory, plan.key)
    write_atomically(path, json.dumps(plan.to_json(), indent=1, sort_keys=True) + "\n")


def read_plan(json_path: Path) -> TensorRTPlan:
    """Read a ``NAME.plan.json`` and check the size of its plan file; the digest is not computed.

    Raises:
        StartupError: there is no such plan, or it is cut short, renamed, or of a format this version does not read.
    """
    directory = json_path.parent.parent
    fix = f"build it again: yiwen release plan {directory} --force"
    try:
        document = json.loads(json_path.read_text(encoding="utf-8"))
        if document["format"] != PLAN_FORMAT:
            raise ValueError(f"format is {document['format']!r}, this version reads {PLAN_FORMAT}")
        plan = _plan(document)
        _check(plan)
        path = plan_path(directory, plan.key)
        if path.name != json_path.name.removesuffix(".json"):
            raise ValueError(f"it was renamed, and would be {path.name}.json")
        size = path.stat().st_size
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise StartupError(f"{json_path}: {_explain(error)}; {fix}") from error
    if size != plan.nbytes:
        raise StartupError(
            f"{path} has {size:,} bytes, its .json says {plan.nbytes:,}; copy it again, or {fix}"
        )
    return plan


def find_plans(directory: Path) -> list[TensorRTPlan]:
    """The plans of a release that can be read, by name.

    One that cannot is logged and skipped: a broken plan for another GPU does not prevent serving.

    Args:
        directory: of the release.
    """
    plans = []
    for path in sorted((directory / PLANS_DIR).glob("*.plan.json")):
        try:
            plans.append(read_plan(path))
        except StartupError as error:
            _log.warning("plan passed over: %s", error)
    return plans


def _plan(document: Mapping[str, Any]) -> TensorRTPlan:
    fields = {name: value for name, value in document.items() if name != "format"}
    key = document["key"]
    major, minor = key["compute_capability"]
    cosines, sines = document["rotary"]
    fields |= {
        "key": PlanKey(**{**key, "compute_capability": (int(major), int(minor))}),
        "profiles": {
            name: tuple(OptimizationProfile(*profile) for profile in profiles)
            for name, profiles in document["profiles"].items()
        },
        "engines": {name: PlanBlob(**blob) for name, blob in document["engines"].items()},
        "tensors": {
            name: PlanTensor(**{**tensor, "shape": tuple(tensor["shape"])})
            for name, tensor in document["tensors"].items()
        },
        "rotary": (str(cosines), str(sines)),
        "quantized": tuple(document["quantized"]),
    }
    return TensorRTPlan(**fields)


def _check(plan: TensorRTPlan) -> None:
    """Check what a loader relies on.

    Raises:
        ValueError: it does not hold.
    """
    if not _KEY.fullmatch(plan.key.tensorrt) or not _KEY.fullmatch(plan.key.precision):
        raise ValueError(f"key names no plan: {plan.key.name!r}")
    if set(plan.profiles) != set(plan.engines):
        raise ValueError("profiles and engines differ")
    if missing := {*plan.weights.values(), *plan.rotary} - set(plan.tensors):
        raise ValueError(f"tensors has no {min(missing)}")
    for name, blob in plan.engines.items():
        if blob.offset % ALIGNMENT or not 0 <= blob.offset < blob.offset + blob.nbytes <= plan.tensors_offset:
            raise ValueError(f"engine {name} lies outside its part of the file")
    for name, tensor in plan.tensors.items():
        if tensor.dtype not in ITEM_BYTES:
            raise ValueError(f"tensor {name} is of type {tensor.dtype!r}")
        if (
            tensor.offset % ALIGNMENT
            or not plan.tensors_offset <= tensor.offset <= plan.nbytes - tensor.nbytes
        ):
            raise ValueError(f"tensor {name} lies outside its part of the file")


def _explain(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is missing"
    return str(error)
