"""Programmatic dependent launch (CUDA C++ Programming Guide): a kernel starts before the preceding one has ended.

The preceding kernel triggers the launch, and the dependent one is launched with an attribute. The attribute costs
about 1 us behind a kernel that does not trigger early (H200), so it is set only where the preceding kernel does.
``overlap.cuh`` has the dependent kernel wait before it reads what the preceding one writes.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictor.runners.tensorrt.cuda_api import check, load_driver

OVERLAPS = True
"""Whether launches overlap on a GPU that supports it. `benchmarks/gpu.py --only overlap` compares both: a
step of a 7B model on an H200 takes 2 to 10 % less up to 16 rows, the same from 32 on, 3 % more at 64 in int8."""

DEPENDENT_LAUNCH_CAPABILITY = (9, 0)
"""Lowest compute capability with dependent launches."""

DEPENDENT_KERNELS = frozenset({"embed_norm", "add_norm", "silu_mul", "decode_attention", "candidates"})
"""Kernels that wait for the preceding kernel and trigger the next launch, as the skinny product does."""


class PrecedingLaunch:
    """The last launch on one stream: whether it triggers a dependent launch before it ends.

    Every launch on the stream is recorded here. Copies are not: a kernel always waits for them, and no kernel of
    ``DEPENDENT_KERNELS`` comes first in a pass.
    """

    __slots__ = ("allows_overlap",)

    def __init__(self) -> None:
        self.allows_overlap = False


class DependentLaunch:
    """A kernel whose launch may overlap the kernel before it, called by one thread at a time.

    Has the signature of :class:`predictor.runners.tensorrt.kernels.launch.KernelFunction`.
    """

    def __init__(
        self, handle: object, name: str, preceding: PrecedingLaunch | None, *, shared_bytes: int = 0
    ) -> None:
        """Launch nothing yet.

        Args:
            handle: cuda-python's CUfunction.
            name: for messages.
            preceding: last launch of the stream that it is launched on; None where launches do not overlap.
            shared_bytes: of dynamic shared memory.
        """
        driver = load_driver()
        self.overlaps = preceding is not None
        self._handle = handle
        self._action = f"starting {name}"
        self._preceding = preceding
        self._config = driver.CUlaunchConfig()
        self._config.blockDimY = self._config.blockDimZ = 1
        self._config.sharedMemBytes = shared_bytes
        if preceding is not None:
            attribute = driver.CUlaunchAttribute()
            attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            attribute.value.programmaticStreamSerializationAllowed = 1
            self._config.attrs = [attribute]
        self._launch = driver.cuLaunchKernelEx

    def __call__(self, grid: Sequence[int], threads: int, stream: int, arguments: int) -> None:
        """Launch it.

        Args:
            grid: blocks in x, y and z.
            threads: of a block.
            stream: to launch on.
            arguments: address of an array of pointers to the arguments.

        Raises:
            CudaError: the driver refuses.
        """
        config, preceding = self._config, self._preceding
        config.gridDimX, config.gridDimY, config.gridDimZ = grid
        config.blockDimX = threads
        config.hStream = stream
        if preceding is not None:
            config.numAttrs = int(preceding.allows_overlap)
        check(self._launch(config, self._handle, arguments, 0), self._action)
        if preceding is not None:
            preceding.allows_overlap = True
