"""The interface to TensorRT's runtime: loads and runs engines.

The interface to its builder is :mod:`predictor.builder.plans.engine_build`; only these two modules import TensorRT
and know how its releases differ. Both distinguish two APIs by :attr:`Api.strongly_typed`. Here:

==========================  ======================================  ==================================================
what                        8.6                                     10.1 and newer, 11 too
==========================  ======================================  ==================================================
memory an execution needs   device_memory_size (gone in 11)         device_memory_size_v2 (10.1)
a context without memory    create_execution_context_without_       ExecutionContextAllocationStrategy.USER_MANAGED
                            device_memory (gone in 11)              (10.1)
giving it memory            the property device_memory              set_device_memory, which checks the size (10.1)
==========================  ======================================  ==================================================

``tests/contract/tensorrt_api.py`` checks every call against the bindings of 8.6, 10 and 11. Used by
:mod:`predictor.runners.tensorrt`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from predictor.errors import RunnerError, StartupError

try:
    import tensorrt as trt
except ImportError as error:  # not installed, or a library of its own is missing
    _missing = str(error)
else:
    _missing = ""

Buffer = bytes | bytearray | memoryview

_log = logging.getLogger(__name__)


class TensorRTError(RunnerError):
    """TensorRT refused or failed; the message has the first error that it logged."""


def load_api() -> Api:
    """Load TensorRT.

    Raises:
        StartupError: it is not installed, cannot be loaded, or is a release that is not supported.
    """
    if _missing:
        raise StartupError(
            f"TensorRT is not installed ({_missing}): pip install '.[tensorrt]' in a checkout of Yiwen"
        )
    major, minor = (int(part) for part in trt.__version__.split(".")[:2])
    if (major, minor) != (8, 6) and (major, minor) < (10, 1):
        raise StartupError(
            f"TensorRT {trt.__version__} is not supported, 8.6 and 10.1 or newer are: "
            "pip install '.[tensorrt]' in a checkout of Yiwen"
        )
    return Api(version=trt.__version__, strongly_typed=major >= 10)


class Api:
    """TensorRT on the current CUDA device. Its engines and contexts keep it alive."""

    def __init__(self, version: str, strongly_typed: bool) -> None:
        self.version = version
        """E.g. 8.6.0."""
        self.strongly_typed = strongly_typed
        """Whether networks are strongly typed: 10.1 and newer."""
        self.logger: trt.ILogger = _make_logger(self._take_error)
        """Must outlive all objects of TensorRT."""
        self._first_error = ""
        self._held: list[str] | None = None

    def deserialize(self, engine: Buffer) -> TensorRTEngine:
        """Load an engine; ``engine`` may be released afterwards.

        Raises:
            TensorRTError: it was built by another release of TensorRT, for another GPU, or is damaged.
        """
        self.forget_errors()
        runtime = trt.Runtime(self.logger)
        loaded = runtime.deserialize_cuda_engine(engine)
        if loaded is None:
            raise self.failure("the engine cannot be loaded")
        return TensorRTEngine(self, runtime, loaded)

    @contextmanager
    def errors_held(self) -> Iterator[list[str]]:
        """Collect TensorRT's errors in a list, not in the log, for calls that may fail without harm."""
        self._held = []
        try:
            yield self._held
        finally:
            self._held = None

    def forget_errors(self) -> None:
        """Clear the errors logged so far, which are not the reason of the next failure."""
        self._first_error = ""

    def failure(self, what: str) -> TensorRTError:
        """The error to raise for ``what``, with the reason that TensorRT logged."""
        return TensorRTError(f"TensorRT {self.version}: {what}: {self._first_error or 'it gave no reason'}")

    def _take_error(self, text: str) -> bool:
        """Record an error; returns whether it is to be logged as well."""
        if self._held is not None:
            self._held.append(text)
            return False
        self._first_error = self._first_error or text
        return True


class TensorRTEngine:
    """An engine on the device. The caller gives each of its contexts device memory."""

    def __init__(self, api: Api, runtime: trt.Runtime, engine: trt.ICudaEngine) -> None:
        self._api = api
        self._runtime = runtime
        """Must outlive the engine."""
        self._engine = engine

    @property
    def memory_bytes(self) -> int:
        """Bytes of scratch memory of one execution, the largest of all profiles."""
        if self._api.strongly_typed:
            return int(self._engine.device_memory_size_v2)
        return int(self._engine.device_memory_size)

    @property
    def profiles(self) -> int:
        """Number of optimization profiles."""
        return int(self._engine.num_optimization_profiles)

    def create_context(self) -> ExecutionContext:
        """Create a context, for one execution at a time.

        Raises:
            TensorRTError: it cannot be created.
        """
        self._api.forget_errors()
        if self._api.strongly_typed:
            context = self._engine.create_execution_context(
                strategy=trt.ExecutionContextAllocationStrategy.USER_MANAGED
            )
        else:
            context = self._engine.create_execution_context_without_device_memory()
        if context is None:
            raise self._api.failure("no execution context could be created")
        return ExecutionContext(self._api, self, context)


class ExecutionContext:
    """One execution at a time of an :class:`TensorRTEngine`. All methods raise :class:`TensorRTError` on refusal."""

    def __init__(self, api: Api, engine: TensorRTEngine, context: trt.IExecutionContext) -> None:
        self._api = api
        self._engine = engine
        """Must outlive the context."""
        self._context = context

    def set_memory(self, address: int, nbytes: int) -> None:
        """Give it scratch memory.

        Args:
            address: on the device, a multiple of 256; two contexts may share it if they never run at once.
            nbytes: at least :attr:`TensorRTEngine.memory_bytes`.
        """
        if self._api.strongly_typed:
            self._context.set_device_memory(address, nbytes)
        else:
            self._context.device_memory = address

    def set_profile(self, index: int, stream: int) -> None:
        """Select a profile, after :meth:`set_memory`, for the work that ``stream`` gets from here on."""
        profiles = self._engine.profiles
        if not 0 <= index < profiles:  # TensorRT 8.6 may end the process instead of refusing
            raise TensorRTError(
                f"TensorRT {self._api.version}: profile {index} is refused: the engine has {profiles}"
            )
        self._check(self._context.set_optimization_profile_async(index, stream), f"profile {index}")

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        """Set the shape of an input with a dynamic dimension; must be repeated after :meth:`set_profile`."""
        self._check(self._context.set_input_shape(name, tuple(shape)), f"shape {tuple(shape)} of {name}")

    def set_address(self, name: str, address: int) -> None:
        """Set the device address of an input or output."""
        self._check(self._context.set_tensor_address(name, address), f"address of {name}")

    def enqueue(self, stream: int) -> None:
        """Start an execution on a CUDA stream; it may be captured in a CUDA graph."""
        self._check(self._context.execute_async_v3(stream), "the execution")

    def _check(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise self._api.failure(f"{what} is refused")


def _make_logger(take_error: Callable[[str], bool]) -> trt.ILogger:
    """A logger that forwards to :mod:`logging`: information as debug, errors if ``take_error`` returns true."""
    severities = trt.ILogger.Severity
    levels = {severities.WARNING: logging.WARNING, severities.INFO: logging.DEBUG}
    levels |= {severities.ERROR: logging.ERROR, severities.INTERNAL_ERROR: logging.ERROR}

    class Logger(trt.ILogger):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            level = levels.get(severity, logging.NOTSET)
            if level and (level != logging.ERROR or take_error(msg)):
                _log.log(level, "TensorRT: %s", msg)

    return Logger()
