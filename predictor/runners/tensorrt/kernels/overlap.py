"""Launches that begin before the kernel in front of them ends ("programmatic dependent launch", CUDA C++ Programming
Guide), which hides most of what a launch costs behind the end of that kernel.

Two things must come together: the kernel in front lets the next one start, and the next one is launched with an
attribute. The attribute is not free, about 1 us behind a kernel that does not let go early (H200), so it is set only
where the kernel in front does. That a kernel waits before it reads what the one in front writes is its source's part:
``kernels/overlap.cuh``.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictor.runners.tensorrt.cuda_api import check, load_driver

OVERLAPS = True
"""Whether the predictor's launches overlap, where the GPU can. `benchmarks/gpu.py --only overlap` compares both: a
step of a 7B model on an H200 takes 2 to 10 % less up to 16 rows, the same from 32 on, 3 % more at 64 in int8."""

DEPENDENT_LAUNCH_CAPABILITY = (9, 0)
"""Compute capability from which on a launch may begin before the one in front of it ends."""

DEPENDENT_KERNELS = frozenset({"embed_norm", "add_norm", "silu_mul", "decode_attention", "candidates"})
"""Kernels that wait for the one in front themselves and let the next one start, besides the product of few rows."""


class PrecedingLaunch:
    """What was started last on one stream: whether it lets the next kernel start before it ends.

    Everything that starts a kernel on the stream says so here. Copies need not: the driver has a kernel wait for
    anything but a kernel, attribute or not, and no kernel of ``DEPENDENT_KERNELS`` comes first in a pass.
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
            preceding: of the stream that it is going to be launched on; None where launches do not overlap.
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
        """Start it; raises CudaError."""
        config, preceding = self._config, self._preceding
        config.gridDimX, config.gridDimY, config.gridDimZ = grid
        config.blockDimX = threads
        config.hStream = stream
        if preceding is not None:
            config.numAttrs = int(preceding.allows_overlap)
        check(self._launch(config, self._handle, arguments, 0), self._action)
        if preceding is not None:
            preceding.allows_overlap = True
