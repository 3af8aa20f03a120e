"""Which execution providers ONNX Runtime is given, and what to install for one it lacks.

Pure: ``onnx_runtime`` asks the installed ONNX Runtime what it has. docs/hardware.md says what was run on what.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from predictor.errors import StartupError

CPU_PROVIDER = "CPUExecutionProvider"
"""In every ONNX Runtime; it knows every operator of our graphs."""

_PACKAGES = {
    "CUDAExecutionProvider": "pip install onnxruntime-gpu",
    "MIGraphXExecutionProvider": "pip install onnxruntime-migraphx, from AMD's wheels for your ROCm",
    "OpenVINOExecutionProvider": "pip install onnxruntime-openvino",
    "QNNExecutionProvider": "pip install onnxruntime-qnn",
}
"""How to get a build of ONNX Runtime with a provider. The others are built from source or belong to a platform."""

_SUFFIX = "ExecutionProvider"

_BUILD_PAGE = "https://onnxruntime.ai/docs/build/eps.html"


def choose_providers(
    named: Sequence[str], *, available: Sequence[str], known: Collection[str], version: str
) -> tuple[str, ...]:
    """The providers to give to a session, the preferred one first.

    Args:
        named: by the setting, in order of preference.
        available: in the installed ONNX Runtime.
        known: to ONNX Runtime at all, whether built in or not.
        version: of the installed ONNX Runtime, for the message.

    Returns:
        The named ones, each once, and last the CPU's: it takes what the others leave.

    Raises:
        StartupError: one is not available; says what to install, or what was meant.
    """
    for name in named:
        if name not in available:
            raise StartupError(
                f"YIWEN_ORT_PROVIDERS names {name}, which the installed ONNX Runtime {version} lacks; it has "
                f"{', '.join(available)}. {_remedy(name, known)}"
            )
    return (*dict.fromkeys(name for name in named if name != CPU_PROVIDER), CPU_PROVIDER)


def check_providers(wanted: Sequence[str], found: Collection[str]) -> None:
    """Refuse a session that came up without a provider, which ONNX Runtime itself only prints.

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
