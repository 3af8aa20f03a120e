"""``yiwen release plan``: builds TensorRT engines of a release's matrix products, and writes them with the weights.

:mod:`predictor.builder.plans.source` gives graphs and tensors, an
:class:`predictor.builder.plans.engines.EngineBuilder` builds the engines, :mod:`predictor.builder.plans.writer`
writes the file that :mod:`predictor.plan` describes.

Engines take minutes. An interrupted build starts again, but its timings are kept, so finished engines are rebuilt in
seconds.
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
from predictor.plan import OptimizationProfile, PlanKey, TensorRTPlan, family_fault, plan_path
from protocol.files import write_atomically
from protocol.release import PLANS_DIR, load_release

WORKSPACE_BYTES = 1 << 30
"""Scratch memory of a layer. A product needs some only where its sum is split."""
REPORT_INTERVAL_S = 10.0
"""Seconds between two messages about a build's steps."""

SOURCES: Mapping[str, Callable[[Path], PlanSource]] = {"float16": Float16Source}
"""Plan sources by precision. int8 needs calibration, so :mod:`predictor.builder.int8.build` passes its own."""

Clock = Callable[[], float]
MakeSource = Callable[[Path], PlanSource]
Examine = Callable[[TensorRTPlan, Path], None]


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Parameters of a plan."""

    release: Path
    precision: str = "float16"
    max_tokens: int = MAX_TOKENS
    """Maximum number of tokens of one pass through the layers."""
    max_rows: int = MAX_ROWS
    """Maximum number of rows of one pass through the vocabulary."""
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
    """Build a plan and publish it in the release atomically; after an error nothing of it remains.

    Args:
        request: parameters of the plan.
        engines: TensorRT.
        gpu: the current device.
        built_at: for the plan's JSON.
        reporter: of engines and bytes.
        clock: in seconds.
        make_source: makes the plan's source from the release's directory; None uses :data:`SOURCES`.
        examine: called with the plan and its finished file before it is published; an exception aborts the build.

    Raises:
        BuildError: see :mod:`predictor.builder.errors`.
        ReleaseError: the release has no segments, or a file of it cannot be read.
    """
    started = clock()
    release = load_release(request.release)
    if (fault := family_fault(release.family)) is not None:
        raise PrecisionUnavailable(fault)
    check_precision(request.precision, tensorrt=engines.version, compute_capability=gpu.compute_capability)
    key = PlanKey(gpu.compute_capability, gpu.sm_count, engines.version, request.precision)
    path = plan_path(request.release, key)
    check_absent(path, force=request.force)
    source = make_source(request.release) if make_source else open_source(request.release, request.precision)
    build = _PlanBuild(request, key, source, engines, reporter, clock)
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
            quantized=tuple(source.quantized),
        )
        if examine:
            file.flush()
            examine(plan, Path(file.name))
        publish(request.release, plan, file)
    return plan


def open_source(release: Path, precision: str) -> PlanSource:
    """The source of a plan in ``precision``.

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
class _PlanBuild:
    """State of one build after the checks."""

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
        """An engine's optimization profiles; the vocabulary's are in rows, all others in tokens."""
        of_rows = engine.startswith("vocabulary.")
        return profiles_up_to(self.request.max_rows if of_rows else self.request.max_tokens)

    def engines_by_name(self) -> dict[str, bytes | memoryview]:
        """Build all engines. Timings are loaded before and saved afterwards, also if the build fails."""
        plans = self.request.release / PLANS_DIR
        cache = self.request.timing_cache or plans / f"timing-{self.key.gpu}-trt{self.key.tensorrt}.cache"
        if cache.is_file() and not self.engines.load_timings(cache.read_bytes()):
            self.reporter.info(f"{cache.name} is of no use to this TensorRT: layers are timed anew")
        try:
            return {name: self._engine(name, graph) for name, graph in self.source.graphs.items()}
        finally:
            write_atomically(cache, self.engines.timings())

    def write(self, file: BinaryIO, layout: Layout, built: Mapping[str, bytes | memoryview]) -> str:
        """Write engines and tensors at their offsets.

        Args:
            file: to write to.
            layout: the offsets.
            built: engines by name.

        Returns:
            The file's sha256.
        """
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
        started = reported = clock()

        def on_step(phase: str, done: int, steps: int) -> None:
            nonlocal reported
            if (now := clock()) - reported >= REPORT_INTERVAL_S:
                reported = now
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
