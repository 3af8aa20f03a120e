"""``yiwen release plan``: a release's matrix products as TensorRT engines for this GPU, and its weights beside them.

The parts: :mod:`predictor.builder.plans.source` says what goes in, an
:class:`predictor.builder.plans.engines.EngineBuilder` makes the engines, :mod:`predictor.builder.plans.writer` writes
the file that :mod:`predictor.plan` describes.

Engines take minutes in all, weights as long as the disk needs. A build that was stopped starts anew, but its
timings are kept, so the engines that were done come in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from predictor.builder.errors import EngineFailed, PrecisionUnavailable
from predictor.builder.parallel import BackgroundDigest
from predictor.builder.plans.engines import (
    MAX_ROWS,
    MAX_TOKENS,
    OPTIMIZATION_LEVEL,
    EngineBuilder,
    EngineRequest,
    GpuInfo,
    check_precision,
    profiles_up_to,
)
from predictor.builder.plans.source import Float16Source, PlanSource
from predictor.builder.plans.writer import (
    Layout,
    PlanFile,
    check_absent,
    lay_out,
    publish,
    staged_plan,
)
from predictor.builder.progress import Reporter
from predictor.errors import PredictorError
from predictor.plan import OptimizationProfile, PlanKey, TensorRTPlan, plan_path
from protocol.files import write_atomically
from protocol.release import PLANS_DIR, load_release

WORKSPACE_BYTES = 1 << 30
"""A product needs scratch memory only where its sum is split; the GPU's memory is for K/V."""
SAY_EVERY_S = 10.0
"""Between two lines about a build's steps."""

SOURCES: Mapping[str, Callable[[Path], PlanSource]] = {"float16": Float16Source}
"""What goes into a plan, by precision, made from the release's directory alone. For int8, which is calibrated,
:mod:`predictor.builder.int8.build` brings its own."""

Clock = Callable[[], float]
MakeSource = Callable[[Path], PlanSource]
Examine = Callable[[TensorRTPlan, Path], None]


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What to build."""

    release: Path
    precision: str = "float16"
    max_tokens: int = MAX_TOKENS
    """Most tokens of one pass through the layers."""
    max_rows: int = MAX_ROWS
    """Most rows of one pass through the vocabulary."""
    optimization_level: int = OPTIMIZATION_LEVEL
    timing_cache: Path | None = None
    """Default: beside the plan."""
    force: bool = False


def build_plan(
    request: PlanRequest,
    engines: EngineBuilder,
    gpu: GpuInfo,
    *,
    built_at: datetime,
    reporter: Reporter,
    clock: Clock = time.monotonic,
    make_source: MakeSource | None = None,
    examine: Examine | None = None,
) -> TensorRTPlan:
    """Build a plan; it is in the release, whole, when this returns, and nothing of it is when this raises.

    Args:
        request: what to build.
        engines: TensorRT.
        gpu: the current device.
        built_at: for the plan's JSON.
        reporter: hears of engines and bytes.
        clock: in seconds.
        make_source: gives what goes into the plan, given the release's directory; None takes that of :data:`SOURCES`.
        examine: called with the plan and its finished file before anybody can find it; what it raises ends the build.

    Raises:
        BuildError: see :mod:`predictor.builder.errors`.
        ReleaseError: the release has no segments, or a file of it cannot be read.
    """
    started = clock()
    release = load_release(request.release)
    check_precision(request.precision, tensorrt=engines.version, compute_capability=gpu.compute_capability)
    key = PlanKey(gpu.compute_capability, gpu.sm_count, engines.version, request.precision)
    path = plan_path(request.release, key)
    check_absent(path, force=request.force)
    source = make_source(request.release) if make_source else open_source(request.release, request.precision)
    build = _Build(request, key, source, engines, reporter, clock)
    with staged_plan(path, tensor_bytes=build.tensor_bytes, force=request.force) as file:
        built = build.engines_by_name()
        layout = lay_out({name: len(engine) for name, engine in built.items()}, source.tensors)
        sha256 = build.write(file, layout, built)
        plan = TensorRTPlan(
            key=key,
            release_id=release.id,
            gpu_name=gpu.name,
            driver=gpu.driver,
            max_tokens=request.max_tokens,
            max_rows=request.max_rows,
            norm_eps=source.norm_eps,
            profiles={name: build.profiles(name) for name in built},
            engines=layout.engines,
            tensors=layout.tensors,
            weights=dict(source.weights),
            rotary=source.rotary,
            tensors_offset=layout.tensors_offset,
            nbytes=layout.nbytes,
            sha256=sha256,
            built_at=built_at.isoformat(timespec="seconds"),
            build_seconds=round(clock() - started, 1),
            quantised=tuple(source.quantized),
        )
        if examine:
            file.flush()
            examine(plan, Path(file.name))
        publish(request.release, plan, file)
    return plan


def open_source(release: Path, precision: str) -> PlanSource:
    """What goes into a plan of ``precision``.

    Raises:
        PrecisionUnavailable: this version builds no such plans.
        ReleaseError: the release has no segments.
    """
    source = SOURCES.get(precision)
    if source is None:
        raise PrecisionUnavailable(
            f"plans in {precision} have not been verified on a GPU, so this version of yiwen builds none: "
            f"choose --precision {' or '.join((*SOURCES, 'int8'))}"
        )
    return source(release)


@dataclass(frozen=True, slots=True)
class _Build:
    """One build, once nothing speaks against it."""

    request: PlanRequest
    key: PlanKey
    source: PlanSource
    engines: EngineBuilder
    reporter: Reporter
    clock: Clock

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.source.tensors)

    def profiles(self, engine: str) -> tuple[OptimizationProfile, ...]:
        """An engine's profiles: the vocabulary is multiplied with rows, everything else with tokens."""
        of_rows = engine.startswith("vocabulary.")
        return profiles_up_to(self.request.max_rows if of_rows else self.request.max_tokens)

    def engines_by_name(self) -> dict[str, bytes | memoryview]:
        """Build all engines. Timings are read once before and saved once after, a build that fails included."""
        plans = self.request.release / PLANS_DIR
        cache = self.request.timing_cache or plans / f"timing-{self.key.gpu}-trt{self.key.tensorrt}.cache"
        if cache.is_file() and not self.engines.load_timings(cache.read_bytes()):
            self.reporter.info(f"{cache.name} is of no use to this TensorRT: layers are timed anew")
        try:
            return {name: self._engine(name, graph) for name, graph in self.source.graphs.items()}
        finally:
            write_atomically(cache, self.engines.timings())

    def write(self, file: BinaryIO, layout: Layout, built: Mapping[str, bytes | memoryview]) -> str:
        """Write engines and tensors where ``layout`` puts them; the file's sha256."""
        with BackgroundDigest() as digest:
            written = PlanFile(file, digest)
            for name, engine in built.items():
                written.seek(layout.engines[name].offset)
                written.write(engine)
            self.reporter.begin("write plan", self.tensor_bytes)
            for tensor in self.source.tensors:
                written.seek(layout.tensors[tensor.name].offset)
                for block in self.source.blocks(tensor):
                    written.write(block.data)
                    self.reporter.advance(block.nbytes, tensor.name)
            return digest.hexdigest()

    def _engine(self, name: str, graph: bytes) -> bytes | memoryview:
        request, clock = self.request, self.clock
        started = said = clock()

        def on_step(phase: str, done: int, steps: int) -> None:
            nonlocal said
            if (now := clock()) - said >= SAY_EVERY_S:
                said = now
                self.reporter.info(f"engine {name}: {phase}, {done} of {steps} after {now - started:.0f} s")

        wanted = EngineRequest(
            graph,
            self.profiles(name),
            request.optimization_level,
            WORKSPACE_BYTES,
            int8=not name.endswith(".float16"),
        )
        self.reporter.info(f"engine {name}: {len(wanted.profiles)} profiles")
        try:
            engine = self.engines.build(wanted, on_step=on_step)
        except PredictorError as error:
            raise EngineFailed(f"engine {name}: {error}; another --level may help") from error
        self.reporter.info(f"engine {name}: {len(engine) / 1e6:.1f} MB in {clock() - started:.1f} s")
        return engine
