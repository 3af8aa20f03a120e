"""Builds engines with TensorRT; the only module that imports its builder.

Differences between the supported releases:

====================  =============================================  ==========================================
what                  8.6                                            10.1 and newer, 11 too
====================  =============================================  ==========================================
a network's types     the builder's choice, unless each layer is     the graph's (a flag since 10.0, always
                      told and OBEY_PRECISION_CONSTRAINTS is set     since 11, where all of the left is gone)
batch dimension       explicit if a flag says so (flag gone in 11)   always explicit
progress of a build   none                                           IProgressMonitor (10.0)
contexts of one       only with a preview feature, set here          always
profile: several
timings of another    refused, its own too, once fused layers are    taken on the same GPU
process               among them; it logs errors and goes on
====================  =============================================  ==========================================

Therefore one timing cache serves all engines of a process, and is serialized only at its end.

Import this module only after :func:`predictor.tensorrt_api.load_api` has found TensorRT.
"""

from __future__ import annotations

from functools import cached_property

import tensorrt as trt

from predictor.builder.plans.engines import EngineRequest, OnStep
from predictor.plan import OptimizationProfile
from predictor.tensorrt_api import Api, TensorRTError


class TensorRTEngineBuilder:
    """A :class:`predictor.builder.plans.engines.EngineBuilder` on the current CUDA device."""

    def __init__(self, api: Api) -> None:
        """Touch no device yet."""
        self._api = api
        self._cache: trt.ITimingCache | None = None

    @property
    def version(self) -> str:
        return self._api.version

    def load_timings(self, content: bytes) -> bool:
        """See :meth:`predictor.builder.plans.engines.EngineBuilder.load_timings`."""
        with self._api.errors_held() as errors:
            config = self._builder.create_builder_config()
            cache = config.create_timing_cache(content)
            taken = bool(cache) and config.set_timing_cache(cache, ignore_mismatch=False) and not errors
        if taken:
            self._cache = cache
        return taken

    def timings(self) -> bytes:
        """See :meth:`predictor.builder.plans.engines.EngineBuilder.timings`."""
        return bytes(memoryview(self._cache.serialize())) if self._cache else b""

    def build(self, request: EngineRequest, *, on_step: OnStep = lambda *_: None) -> memoryview:
        """Build an engine for the current CUDA device; takes seconds to many minutes.

        Args:
            request: what to build.
            on_step: called from TensorRT's threads while it works; never by 8.6.

        Raises:
            TensorRTError: the graph cannot be parsed, or no engine can be built.
            KeyboardInterrupt: the build was stopped between two steps.
        """
        api, builder = self._api, self._builder
        api.forget_errors()
        network = builder.create_network(1 << _network_flag(api))
        parser = trt.OnnxParser(network, api.logger)  # kept until the build is over: it may own the constants
        if not parser.parse(request.graph):
            errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
            raise TensorRTError(f"TensorRT {api.version}: the graph cannot be parsed: {errors}")
        config = _configure(api, builder, network, request)
        self._cache = self._cache or config.create_timing_cache(b"")
        config.set_timing_cache(self._cache, ignore_mismatch=False)
        interrupted: list[KeyboardInterrupt] = []
        monitor = _attach_monitor(api, config, on_step, interrupted)
        engine = builder.build_serialized_network(network, config)
        del monitor
        if interrupted:
            raise interrupted[0]
        if engine is None:
            raise api.failure("no engine could be built")
        return memoryview(engine).cast("B")

    @cached_property
    def _builder(self) -> trt.Builder:
        """Created on first use, since it takes device memory; kept, since the timing cache belongs to it."""
        return trt.Builder(self._api.logger)


def _configure(
    api: Api, builder: trt.Builder, network: trt.INetworkDefinition, request: EngineRequest
) -> trt.IBuilderConfig:
    config = builder.create_builder_config()
    config.builder_optimization_level = request.optimization_level
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    if not api.strongly_typed:  # newer releases always let contexts share a profile, as CUDA graphs need
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    for profile in request.profiles:
        if config.add_optimization_profile(_ranges(builder, network, profile)) < 0:
            raise api.failure(f"profile {tuple(profile)} is not accepted")
    _constrain_types(api, network, config, int8=request.int8)
    return config


def _network_flag(api: Api) -> int:
    if api.strongly_typed:
        return int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def _ranges(
    builder: trt.Builder, network: trt.INetworkDefinition, profile: OptimizationProfile
) -> trt.IOptimizationProfile:
    """The profile for every input with a dynamic dimension."""
    ranges = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        dims = tensor.shape
        sides = [int(dims[axis]) for axis in range(len(dims))]
        if -1 in sides:
            least, best, most = (tuple(size if side == -1 else side for side in sides) for size in profile)
            ranges.set_shape(tensor.name, least, best, most)
    return ranges


def _attach_monitor(
    api: Api, config: trt.IBuilderConfig, on_step: OnStep, interrupted: list[KeyboardInterrupt]
) -> object:
    """Attach a progress monitor that reports steps and stops the build on Ctrl-C, which TensorRT would swallow.

    Returns:
        The monitor, which must live as long as the build; None where TensorRT has none.
    """
    if api.strongly_typed:
        steps: dict[str, int] = {}

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # untyped
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                steps[phase_name] = num_steps

            def step_complete(self, phase_name: str, step: int) -> bool:
                try:
                    on_step(phase_name, step + 1, steps.get(phase_name, step + 1))
                except KeyboardInterrupt as error:
                    interrupted.append(error)
                return not interrupted

            def phase_finish(self, phase_name: str) -> None:
                steps.pop(phase_name, None)

        monitor = Monitor()
        config.progress_monitor = monitor
        return monitor
    return None


def _constrain_types(
    api: Api, network: trt.INetworkDefinition, config: trt.IBuilderConfig, *, int8: bool
) -> None:
    """Make 8.6 use the graph's types: each computing layer gets the type that the parser gave its output.

    Products of dequantized values are excluded: the builder fuses the conversion into an int8 product.
    """
    if api.strongly_typed:
        return
    kinds = trt.LayerType
    moves = {kinds.CONSTANT, kinds.SHAPE, kinds.SHUFFLE, kinds.CAST, kinds.IDENTITY, kinds.SLICE}
    moves |= {kinds.CONCATENATION, kinds.QUANTIZE, kinds.DEQUANTIZE}
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    if int8:
        config.set_flag(trt.BuilderFlag.INT8)
    dequantized: set[str] = set()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        output = layer.get_output(0)
        sources = {layer.get_input(slot).name for slot in range(layer.num_inputs) if layer.get_input(slot)}
        if layer.type == kinds.DEQUANTIZE or (layer.type == kinds.SHUFFLE and sources & dequantized):
            dequantized.add(output.name)
        if layer.type in moves or (layer.type == kinds.MATRIX_MULTIPLY and sources & dequantized):
            continue
        if output.dtype in (trt.DataType.HALF, trt.DataType.FLOAT):
            layer.precision = output.dtype
            layer.set_output_type(0, output.dtype)
