"""All of the TensorRT runner but TensorRT and the GPU: emulated kernels and products in numpy, on host memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from predictor.batch import Batch, StepOutput
from predictor.builder.graph.segments import emit_segment
from predictor.builder.int8.smooth import column_maxima, input_scale, quantize_weights, smoothing_factors
from predictor.config import PredictorConfig
from predictor.errors import StartupError
from predictor.plan import OptimizationProfile, PlanBlob, PlanKey, PlanTensor, TensorRTPlan, align
from predictor.runners.base import execute
from predictor.runners.reference import open_reference_runner
from predictor.runners.reference_decoder import load_tensors
from predictor.runners.segmented import SegmentedRunner
from predictor.runners.tensorrt.cuda_api import DeviceProperties
from predictor.runners.tensorrt.kernels.shape import KernelShape
from predictor.runners.tensorrt.start import backend_builder as assemble
from predictor.runners.tensorrt.start.backend_builder import BackendBuilder
from predictor.segment_index import LINEAR_ROLES, linear_shape, read_segment_index
from protocol.release import Release, load_release
from tests.predictor.builder.checkpoints import Variant, build, variant_checkpoint
from tests.predictor.runners.steps import assert_close, run_ahead, run_behind, run_forced, script
from tests.predictor.runners.tensorrt.emulator import COMPILER, emulate
from tests.predictor.runners.tensorrt.host_cuda import HostCuda, HostEngine

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="emulating CUDA needs g++"),
    pytest.mark.timeout(600),
]

SLOTS = 5
MAX_TOKENS = 16
ENGINES = [f"{role}.{dtype}" for role in sorted(LINEAR_ROLES) for dtype in ("float16", "int8")]
FIRST_LAYER = ("attention.qkv", "attention.output", "mlp.gate_up", "mlp.down")
IN_INT8 = ("vocabulary", "layers.1.mlp.down", *(f"layers.0.{part}" for part in FIRST_LAYER))
"""Every role, and the other precision beside it."""

Arrays = Mapping[str, npt.NDArray[Any]]
DEVICE = DeviceProperties("emulated", "0" * 32, (9, 0), 2, 2**34, "13.0")


@dataclasses.dataclass
class Setting:
    """A release, its plan and the emulated kernels for it."""

    directory: Path
    release: Release
    quantized: Arrays
    """Tensors that take the place of the release's."""
    plan: TensorRTPlan
    plan_file: Path
    functions: Mapping[str, Any]

    def reference(self) -> SegmentedRunner:
        """The same decoder on the CPU."""
        shape = self.release.decoder
        graphs = {
            f"{role}.int8": emit_segment(role, *linear_shape(shape, role), "int8") for role in LINEAR_ROLES
        }
        return open_reference_runner(
            self.directory, self.release, slots=SLOTS, threads=1, tensors=self.quantized, graphs=graphs
        )


@pytest.fixture(
    scope="module",
    params=[(Variant("Llama"), ()), (Variant("Qwen3", biased=True), IN_INT8)],
    ids=["float16", "float16 and int8"],
)
def setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    variant, in_int8 = request.param
    directory = tmp_path_factory.mktemp("assemble")
    build(variant_checkpoint(directory / "checkpoint", variant, layers=2), directory / "release", "float16")
    release = load_release(directory / "release")
    quantized = quantize(directory / "release", release, in_int8)
    plan = write_plan_file(directory / "release", directory / "x.plan", release, quantized)
    shape, limits = release.decoder, release.limits
    kernel_shape = KernelShape(
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        hidden=shape.hidden,
        vocabulary=shape.vocab,
        candidates=limits.candidates,
        capacity=limits.max_sequence_tokens,
    )
    functions = emulate(kernel_shape, seed=1)
    return Setting(directory / "release", release, quantized, plan, directory / "x.plan", functions)


def quantize(release_dir: Path, release: Release, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Matrices in int8 with their scales, from what one step multiplies them with."""
    largest: dict[str, npt.NDArray[np.float32]] = {}

    def observe(name: str, array: npt.NDArray[np.float32]) -> None:
        largest[name] = np.abs(array).max(axis=0)

    runner = open_reference_runner(release_dir, release, slots=SLOTS, threads=1, hook=observe)
    execute(runner, Batch.of_prompts(range(SLOTS), prompts(9)[:SLOTS]))
    arrays = load_tensors(release_dir, read_segment_index(release_dir), {})
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name in names:
        weights = np.asarray(arrays.get(name, arrays["embedding"]), np.float32)
        scale = input_scale(largest[name], smoothing_factors(largest[name], column_maxima(weights), 0.5))
        codes, output_scale = quantize_weights(weights, scale)
        tensors |= {name: codes, f"{name}.input_scale": scale, f"{name}.output_scale": output_scale}
    return tensors


def write_plan_file(release_dir: Path, path: Path, release: Release, quantized: Arrays) -> TensorRTPlan:
    """A plan's tensors, behind a page of nothing."""
    index = read_segment_index(release_dir)
    arrays = load_tensors(release_dir, index, quantized)
    tensors, content = {}, bytearray(4096)
    for name, array in arrays.items():
        content += bytes(align(len(content)) - len(content))
        tensors[name] = PlanTensor(len(content), array.shape, str(array.dtype))
        content += np.ascontiguousarray(array).tobytes()
    path.write_bytes(content)
    names = {name: name for name in tensors}
    profiles = (OptimizationProfile(1, 8, 8), OptimizationProfile(9, MAX_TOKENS, MAX_TOKENS))
    return TensorRTPlan(
        key=PlanKey((9, 0), 2, "8.6.0", "float16"),
        release_id=release.id,
        gpu_name="emulated",
        driver="",
        max_tokens=MAX_TOKENS,
        max_rows=4,
        norm_eps=index.traits.norm_eps,
        profiles=dict.fromkeys(ENGINES, profiles),
        engines=dict.fromkeys(ENGINES, PlanBlob(0, 1)),
        tensors=tensors,
        weights={"vocabulary": "embedding", **names},
        rotary=index.rotary,
        tensors_offset=4096,
        nbytes=len(content),
        sha256="",
        built_at="",
        build_seconds=0.0,
        quantized=tuple(name for name, array in quantized.items() if array.dtype == np.int8),
    )


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, setting: Setting) -> HostCuda:
    host = HostCuda(monkeypatch)
    functions = {name: host.kernel(function) for name, function in setting.functions.items()}
    monkeypatch.setattr(assemble, "load_functions", lambda *_: functions)
    monkeypatch.setattr(
        assemble, "load_linear_functions", lambda *_, **__: {}
    )  # TensorRT's stand-in does all
    monkeypatch.setattr(assemble, "Compiler", lambda *_: None)
    return host


def make_assembly(setting: Setting, host: HostCuda, **changes: Any) -> BackendBuilder:
    engines = {}
    for name in ENGINES:
        role, dtype = name.split(".")
        width, _ = linear_shape(setting.release.decoder, role)
        engines[name] = HostEngine(host, dtype, width)
    config = dataclasses.replace(PredictorConfig(setting.directory, slots=SLOTS), **changes)
    return BackendBuilder(config, setting.release, setting.plan, setting.plan_file, engines, DEVICE)


def opened(setting: Setting, host: HostCuda, *, graphs: bool = True) -> SegmentedRunner:
    assembly = make_assembly(setting, host)
    assembly.load_kernels()
    assert assembly.allocate().slots == SLOTS
    assembly.load_weights()
    backend = assembly.build()
    if graphs:
        backend.prepare(setting.plan.profiles[assembly.layer_engine])
    return SegmentedRunner(backend)


def distance(found: Sequence[StepOutput], wanted: Sequence[StepOutput]) -> float:
    """Mean difference of log-probability over the candidates that both have."""
    differences: list[float] = []
    for one, other in zip(found, wanted, strict=True):
        for row in range(len(one.candidate_ids)):
            _, here, there = np.intersect1d(
                one.candidate_ids[row], other.candidate_ids[row], return_indices=True
            )
            gaps = one.candidate_logprobs[row, here] - other.candidate_logprobs[row, there]
            differences += np.abs(gaps).tolist()
    return float(np.mean(differences))


def prompts(seed: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, 256, rng.integers(1, 25)).tolist()) for _ in range(12)]


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
def test_steps_give_what_the_reference_gives(setting: Setting, host: HostCuda, graphs: bool) -> None:
    batches = script(3, slots=SLOTS, steps=8, prompts=prompts(3))
    wanted = run_behind(setting.reference(), batches)
    runner = opened(setting, host, graphs=graphs)
    found = run_forced(runner, batches, wanted)
    if setting.quantized:
        # A value that falls between two codes may take either: much less than what int8 itself changes.
        plain = open_reference_runner(setting.directory, setting.release, slots=SLOTS, threads=1)
        assert distance(found, wanted) < distance(run_forced(plain, batches, wanted), wanted) / 5
    else:
        assert_close(found, wanted)
    assert (runner.launches["graph"] > 0) == graphs
    runner.close()
    assert not host.memory


def test_running_ahead_changes_nothing(setting: Setting, host: HostCuda) -> None:
    batches = script(4, slots=SLOTS, steps=8, prompts=prompts(4), stay=0.7)
    behind = run_behind(opened(setting, host), batches)
    ahead = run_ahead(opened(setting, host), batches)
    for one, other in zip(ahead, behind, strict=True):
        np.testing.assert_array_equal(one.candidate_ids, other.candidate_ids)
        np.testing.assert_array_equal(one.candidate_logprobs, other.candidate_logprobs)


def test_a_start_that_fails_leaves_nothing_on_the_gpu(setting: Setting, host: HostCuda) -> None:
    assembly = make_assembly(setting, host)
    assembly.load_kernels()
    assembly.allocate()
    setting.plan_file.rename(setting.plan_file.with_suffix(".away"))
    try:
        with pytest.raises(StartupError):
            assembly.load_weights()
    finally:
        setting.plan_file.with_suffix(".away").rename(setting.plan_file)
    assert len(host.memory) == 4
    assembly.free_all()
    assert not host.memory
