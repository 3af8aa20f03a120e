"""What can be seen of TensorRT without it; ``tests/contract`` checks the calls, the ``gpu`` tests make them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from predictor import tensorrt_api
from predictor.errors import StartupError


def test_without_tensorrt_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_api, "_missing", "libnvinfer.so.10: cannot open shared object file")
    with pytest.raises(StartupError, match=r"libnvinfer\.so\.10: .*pip install 'yiwen\[tensorrt\]'"):
        tensorrt_api.load_api()


@pytest.mark.parametrize("version", ["8.5.3", "8.7.0", "9.3.0", "10.0.1"])
def test_a_release_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(tensorrt_api, "_missing", "")
    monkeypatch.setattr(tensorrt_api, "trt", SimpleNamespace(__version__=version), raising=False)
    with pytest.raises(StartupError, match=f"TensorRT {version} is not supported"):
        tensorrt_api.load_api()
