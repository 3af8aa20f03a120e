from __future__ import annotations

from pathlib import Path

import pytest

from predictor.config import PredictorConfig
from predictor.errors import StartupError
from predictor.runners.providers import CPU_PROVIDER, check_providers, choose_providers
from predictor.runners.select import create_runner
from protocol.release import load_release
from serving.settings import settings_from_environment

AVAILABLE = ("MIGraphXExecutionProvider", "XnnpackExecutionProvider", CPU_PROVIDER)
KNOWN = (*AVAILABLE, "CUDAExecutionProvider", "OpenVINOExecutionProvider", "CoreMLExecutionProvider")


def choose(*named: str) -> tuple[str, ...]:
    return choose_providers(named, available=AVAILABLE, known=KNOWN, version="1.30.0")


def test_the_cpu_is_the_last_wherever_it_was_named() -> None:
    assert choose() == choose(CPU_PROVIDER) == (CPU_PROVIDER,)
    assert choose("MIGraphXExecutionProvider") == ("MIGraphXExecutionProvider", CPU_PROVIDER)
    assert choose(CPU_PROVIDER, "XnnpackExecutionProvider") == ("XnnpackExecutionProvider", CPU_PROVIDER)


def test_the_order_is_kept_and_repetitions_are_not() -> None:
    named = ("XnnpackExecutionProvider", "MIGraphXExecutionProvider", "XnnpackExecutionProvider")
    assert choose(*named) == ("XnnpackExecutionProvider", "MIGraphXExecutionProvider", CPU_PROVIDER)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("OpenVINOExecutionProvider", "pip install onnxruntime-openvino"),
        ("CoreMLExecutionProvider", "Build ONNX Runtime with it"),
        ("MiGraphxExecutionProvider", r"did you mean MIGraphXExecutionProvider\?"),
        ("migraphx", r"did you mean MIGraphXExecutionProvider\?"),
        ("QuantumExecutionProvider", "knows no provider of that name$"),
    ],
)
def test_a_provider_that_is_missing_is_a_start_error_that_says_what_to_do(name: str, remedy: str) -> None:
    with pytest.raises(StartupError, match=remedy) as error:
        choose(CPU_PROVIDER, name)
    assert f"names {name}, which the installed ONNX Runtime 1.30.0 lacks" in str(error.value)
    assert ", ".join(AVAILABLE) in str(error.value)


def test_a_provider_that_did_not_start_is_no_silent_fallback() -> None:
    check_providers(("XnnpackExecutionProvider", CPU_PROVIDER), AVAILABLE)
    with pytest.raises(StartupError, match="could not start CUDAExecutionProvider on this machine"):
        check_providers(("CUDAExecutionProvider", CPU_PROVIDER), [CPU_PROVIDER])


@pytest.mark.parametrize(
    ("text", "providers"),
    [
        ("", (CPU_PROVIDER,)),
        ("MIGraphXExecutionProvider", ("MIGraphXExecutionProvider",)),
        ("A, B,", ("A", "B")),
    ],
)
def test_the_setting_is_a_list_with_commas(text: str, providers: tuple[str, ...]) -> None:
    environ = {"YIWEN_RELEASE": "release", "YIWEN_ORT_PROVIDERS": text}
    assert settings_from_environment(PredictorConfig, environ).ort_providers == providers


def test_the_setting_reaches_the_runner(random_release_dir: Path) -> None:
    config = PredictorConfig(
        release=random_release_dir, backend="onnxruntime", ort_providers=("NoSuchExecutionProvider",)
    )
    with pytest.raises(StartupError, match="names NoSuchExecutionProvider"):
        create_runner(config, random_release_dir, load_release(random_release_dir))
