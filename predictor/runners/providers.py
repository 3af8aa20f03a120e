"""Chooses the execution providers of ONNX Runtime, and says what to install for a missing one.

Pure: ``onnx_runtime`` asks the installed ONNX Runtime which it has. docs/hardware.md lists those that were tested.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from predictor.errors import StartupError

CPU_PROVIDER = "CPUExecutionProvider"
"""In every build of ONNX Runtime, with every operator of our graphs."""

_PACKAGES = {
    "CUDAExecutionProvider": "pip install onnxruntime-gpu",
    "MIGraphXExecutionProvider": "pip install onnxruntime-migraphx, from AMD's wheels for your ROCm",
    "OpenVINOExecutionProvider": "pip install onnxruntime-openvino",
    "QNNExecutionProvider": "pip install onnxruntime-qnn",
}
"""Packages by execution provider; the others need a build from source."""

_SUFFIX = "ExecutionProvider"

_BUILD_PAGE = "https://onnxruntime.ai/docs/build/eps.html"


def choose_providers(
    named: Sequence[str], *, available: Sequence[str], known: Collection[str], version: str
) -> tuple[str, ...]:
    """The execution providers of a session, the preferred one first.

    Args:
        named: in the setting, in order of preference.
        available: in the installed ONNX Runtime.
        known: to ONNX Runtime, in this build or not.
        version: of the installed ONNX Runtime, for the message.

    Returns:
        The named ones, each once, then the CPU's for the operators that the others do not have.

    Raises:
        StartupError: one is not available; the message says what to install, or suggests a name.
    """
    for name in named:
        if name not in available:
            raise StartupError(
                f"YIWEN_ORT_PROVIDERS names {name}, which the installed ONNX Runtime {version} lacks; it has "
                f"{', '.join(available)}. {_remedy(name, known)}"
            )
    return (*dict.fromkeys(name for name in named if name != CPU_PROVIDER), CPU_PROVIDER)


def check_providers(wanted: Sequence[str], found: Collection[str]) -> None:
    """Refuse a session that lacks a provider: ONNX Runtime itself only prints that.

    Raises:
        StartupError: names the missing ones.
    """
    missing = [name for name in wanted if name not in found]
    if missing:
        raise StartupError(
            f"ONNX Runtime could not start {', '.join(missing)} on this machine: what it printed above names the "
            f"driver or library it misses. Install that, or set YIWEN_ORT_PROVIDERS={CPU_PROVIDER}"
        )


def _remedy(name: str, known: Collection[str]) -> str:
    if name in _PACKAGES:
        return f"Take a build that has it: pip uninstall -y onnxruntime, then {_PACKAGES[name]}"
    if name in known:
        return f"Build ONNX Runtime with it ({_BUILD_PAGE}), or name another"
    short = {full.removesuffix(_SUFFIX).lower(): full for full in known}
    near = difflib.get_close_matches(name.removesuffix(_SUFFIX).lower(), short, n=1)
    return "This version knows no provider of that name" + (
        f"; did you mean {short[near[0]]}?" if near else ""
    )
