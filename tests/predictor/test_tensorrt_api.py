"""What can be seen of TensorRT without it; ``tests/contract`` checks the calls, the ``gpu`` tests make them."""

from __future__ import annotations

import enum
import logging
from types import SimpleNamespace

import pytest

from predictor import tensorrt_api
from predictor.errors import StartupError


def test_without_tensorrt_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_api, "_missing", "libnvinfer.so.10: cannot open shared object file")
    with pytest.raises(StartupError, match=r"libnvinfer\.so\.10: .*pip install '\.\[tensorrt\]'"):
        tensorrt_api.load_api()


@pytest.mark.parametrize("version", ["8.5.3", "8.7.0", "9.3.0", "10.0.1"])
def test_a_release_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(tensorrt_api, "_missing", "")
    monkeypatch.setattr(tensorrt_api, "trt", SimpleNamespace(__version__=version), raising=False)
    with pytest.raises(StartupError, match=f"TensorRT {version} is not supported"):
        tensorrt_api.load_api()


class _Logger:
    """What of TensorRT's own :class:`predictor.tensorrt_api.Api` needs before it makes anything."""

    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


def test_errors_that_may_happen_are_held_back_and_others_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tensorrt_api, "trt", SimpleNamespace(ILogger=_Logger), raising=False)
    api = tensorrt_api.Api("8.6.0", strongly_typed=False)
    error = _Logger.Severity.ERROR
    with api.errors_held() as held:
        api.logger.log(error, "the timing cache will not be used")
        api.logger.log(_Logger.Severity.WARNING, "slow")
    api.logger.log(error, "out of tactics")
    assert held == ["the timing cache will not be used"]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "TensorRT: slow"),
        (logging.ERROR, "TensorRT: out of tactics"),
    ]
    assert "no engine: out of tactics" in str(api.failure("no engine"))
