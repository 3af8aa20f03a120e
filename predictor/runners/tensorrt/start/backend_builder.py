"""Builds a backend on the GPU: kernels, memory, weights, contexts; one method per phase of a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from predictor.config import PredictorConfig
from predictor.plan import TensorRTPlan
from predictor.runners.tensorrt import cuda_api as cuda
from predictor.runners.tensorrt.kernels.attention import AttentionKernels
from predictor.runners.tensorrt.kernels.fused import FusedKernels
from predictor.runners.tensorrt.kernels.launch import load_functions
from predictor.runners.tensorrt.kernels.linear import SkinnyLinears
from predictor.runners.tensorrt.kernels.linear import load_functions as load_linear_functions
from predictor.runners.tensorrt.kernels.linear_tiling import supports
from predictor.runners.tensorrt.kernels.nvrtc import Compiler
from predictor.runners.tensorrt.kernels.overlap import DEPENDENT_LAUNCH_CAPABILITY, OVERLAPS, PrecedingLaunch
from predictor.runners.tensorrt.kernels.shape import KernelShape
from predictor.runners.tensorrt.start.memory import MemoryNeeds, MemoryPlan, plan_memory, slot_bytes
from predictor.runners.tensorrt.start.weight_loader import CudaWriter, load
from predictor.runners.tensorrt.step.backend import TensorRtBackend
from predictor.runners.tensorrt.step.bound_kernels import BoundKernels, DeviceAddresses
from predictor.runners.tensorrt.step.buffers import assign_addresses, buffer_sizes, total_bytes
from predictor.runners.tensorrt.step.device import CudaDevice, DeviceSizes
from predictor.runners.tensorrt.step.inputs import InputLayout
from predictor.runners.tensorrt.step.linears import LinearEngine, Linears
from predictor.runners.tensorrt.step.weights import place_weights
from protocol.release import Release

FIRST_LAYER_ENGINES = ("qkv.float16", "qkv.int8", "qkv.fp8")


@dataclass(frozen=True, slots=True)
class _Memory:
    """Device addresses of the four allocations, and the plan that they follow."""

    plan: MemoryPlan
    weights: int
    scratch: int
    buffers: int
    kv: int


class BackendBuilder:
    """Builds one backend. The methods are called in their order; :meth:`free_all` frees what they allocated."""

    def __init__(
        self,
        config: PredictorConfig,
        release: Release,
        plan: TensorRTPlan,
        plan_file: Path,
        engines: Mapping[str, LinearEngine],
        device: cuda.DeviceProperties,
        *,
        overlaps: bool = OVERLAPS,
    ) -> None:
        """Allocate nothing.

        Args:
            config: slots wanted, share of the GPU's memory, cache of compiled kernels.
            release: whose decoder it is.
            plan: to run.
            plan_file: with its tensors.
            engines: its engines, loaded.
            device: the GPU.
            overlaps: whether launches of decode steps overlap, on a GPU that supports it.
        """
        self._config = config
        self._release = release
        self._plan = plan
        self._plan_file = plan_file
        self._engines = engines
        self._device = device
        self._preceding = (
            PrecedingLaunch()
            if overlaps and device.compute_capability >= DEPENDENT_LAUNCH_CAPABILITY
            else None
        )
        self._cleanups: list[Callable[[], None]] = []
        self._layout = InputLayout(plan.max_tokens, min(plan.max_rows, config.slots))

    @property
    def layer_engine(self) -> str:
        """Name of the engine of the first product of a layer, which runs on every token of a pass."""
        return next(name for name in FIRST_LAYER_ENGINES if name in self._engines)

    def load_kernels(self) -> None:
        """Compile the kernels, or load them from the cache.

        Raises:
            StartupError: they do not fit the model, or cannot be compiled.
        """
        shape, limits, device = self._release.decoder, self._release.limits, self._device
        kernel_shape = KernelShape(
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            hidden=shape.hidden,
            vocabulary=shape.vocab,
            candidates=limits.candidates,
            capacity=limits.max_sequence_tokens,
        )
        compiler = Compiler(device.compute_capability, self._config.cache_dir.expanduser())
        functions = load_functions(kernel_shape, compiler, self._preceding)
        most_rows = min(self._config.slots, self._plan.max_tokens)
        epsilon = self._plan.norm_eps
        self._kernels = AttentionKernels(
            kernel_shape, functions, epsilon=epsilon, sm_count=device.sm_count, max_rows=most_rows
        )
        self._fused = FusedKernels(kernel_shape, functions, epsilon=epsilon)
        weights = {
            (linear.dtype, linear.width)
            for linear in place_weights(self._plan, shape.layers, 0).linears
            if supports(linear.width, linear.columns, 1, linear.dtype)
        }
        self._linear_functions = load_linear_functions(weights, compiler, device, self._preceding)

    def allocate(self) -> MemoryPlan:
        """Plan the GPU's memory and allocate it.

        Raises:
            StartupError: it does not hold one slot.
            CudaError: less was free than CUDA said.
        """
        shape, limits, plan = self._release.decoder, self._release.limits, self._plan
        self._sizes = {
            **buffer_sizes(
                shape,
                self._layout,
                slots=self._config.slots,
                candidates=limits.candidates,
                float32_products=bool(plan.quantized),
            ),
            "decode_workspace": self._kernels.decode_workspace_bytes,
            "candidates_workspace": self._kernels.candidates_workspace_bytes,
        }
        if self._linear_functions:
            space = SkinnyLinears.workspace_bytes(self._linear_functions, self._device)
            self._sizes["linear_workspace"] = space
        memory = self._plan_memory()
        self._memory = _Memory(
            memory,
            weights=self._allocate(memory.needs.weights, "weights"),
            scratch=self._allocate(memory.needs.scratch, "TensorRT's scratch memory"),
            buffers=self._allocate(memory.needs.buffers, "buffers"),
            kv=self._allocate(memory.kv_bytes, f"the K/V cache of {memory.slots} slots"),
        )
        return memory

    def load_weights(self) -> None:
        """Copy the plan's tensors to the GPU.

        Raises:
            StartupError: the file cannot be read or is too short.
        """
        memory = self._memory
        load(
            self._plan_file,
            self._plan.tensors_offset,
            memory.plan.needs.weights,
            lambda: CudaWriter(memory.weights),
        )

    def build(self) -> TensorRtBackend:
        """Create the backend, which owns all resources from here on and has captured no graph yet."""
        shape, limits, plan, memory = self._release.decoder, self._release.limits, self._plan, self._memory
        stream = cuda.create_stream()
        self._cleanups.append(lambda: cuda.destroy_stream(stream))
        # The kernels' counters begin at zero, and memory that nobody wrote must not hold NaN.
        cuda.fill(memory.buffers, 0, memory.plan.needs.buffers, stream)
        cuda.fill(memory.kv, 0, memory.plan.kv_bytes, stream)
        weights = place_weights(plan, shape.layers, memory.weights)
        slots = memory.plan.slots
        addresses = DeviceAddresses(
            assign_addresses(self._sizes, memory.buffers),
            self._layout,
            kv=memory.kv,
            layer_bytes=memory.plan.kv_bytes // shape.layers,
            ids=slots * limits.candidates,
        )
        device = CudaDevice(
            DeviceSizes(
                shape.layers, slots, limits.max_sequence_tokens, limits.candidates, memory.plan.kv_bytes
            ),
            self._layout,
            weights,
            Linears(
                self._engines,
                plan.profiles,
                scratch=memory.scratch,
                scratch_bytes=memory.plan.needs.scratch,
                stream=stream,
                skinny=self._skinny(addresses),
                preceding=self._preceding,
            ),
            BoundKernels(self._kernels, self._fused, shape, weights, addresses),
            stream=stream,
            allocations=(memory.weights, memory.scratch, memory.buffers, memory.kv),
        )
        self._cleanups = [device.close]
        return TensorRtBackend(device, max_tokens=plan.max_tokens, max_rows=self._layout.max_rows)

    def free_all(self) -> None:
        """Free everything; stops at the first error of the GPU."""
        for cleanup in reversed(self._cleanups):
            try:
                cleanup()
            except cuda.CudaError:
                return

    def _plan_memory(self) -> MemoryPlan:
        shape, plan = self._release.decoder, self._plan
        scratch = max(1, *(engine.memory_bytes for engine in self._engines.values()))
        free, total = cuda.mem_info()
        return plan_memory(
            free=free,
            total=total,
            fraction=self._config.gpu_memory_fraction,
            needs=MemoryNeeds(plan.nbytes - plan.tensors_offset, scratch, total_bytes(self._sizes)),
            bytes_per_slot=slot_bytes(
                layers=shape.layers,
                kv_heads=shape.kv_heads,
                head_dim=shape.head_dim,
                capacity=self._release.limits.max_sequence_tokens,
            ),
            wanted_slots=self._config.slots,
        )

    def _skinny(self, addresses: DeviceAddresses) -> SkinnyLinears | None:
        if not self._linear_functions:
            return None  # no product of this model has a shape that the kernel can cut up
        workspace = addresses.buffers["linear_workspace"]
        return SkinnyLinears(self._linear_functions, self._device, workspace=workspace)

    def _allocate(self, nbytes: int, purpose: str) -> int:
        address = cuda.malloc(nbytes, purpose)
        self._cleanups.append(lambda: cuda.free(address))
        return address
