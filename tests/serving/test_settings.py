from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from serving.arguments import ignored_arguments, parse_kserve_arguments
from serving.settings import (
    FORMER_NAMES,
    SETTINGS,
    CommaSeparated,
    ServerSettings,
    SettingsError,
    environment_names,
    settings_from_environment,
)
from transformer.config import TransformerConfig


@dataclass(frozen=True, config=SETTINGS)
class Sample:
    release: Path
    slots: int = Field(default=8, ge=1, le=64)
    ratio: float = Field(default=0.5, ge=0.0)
    warm: bool = True
    url: str | None = None
    limit: int | None = None
    languages: CommaSeparated = ()
    backend: Literal["auto", "cpu"] = "auto"


def read(**environ: str) -> Sample:
    return settings_from_environment(Sample, {"YIWEN_RELEASE": "/r", **environ})


def test_reads_every_type() -> None:
    settings = read(
        YIWEN_SLOTS="4",
        YIWEN_RATIO="2.5",
        YIWEN_WARM="off",
        YIWEN_URL="http://x",
        YIWEN_LIMIT="3",
        YIWEN_LANGUAGES="de, fr,",
        YIWEN_BACKEND="cpu",
    )
    assert settings == Sample(Path("/r"), 4, 2.5, False, "http://x", 3, ("de", "fr"), "cpu")


def test_what_is_missing_or_empty_takes_its_default() -> None:
    assert read(YIWEN_SLOTS="", HOME="/home/someone") == Sample(Path("/r"))


def test_reports_all_faults_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from_environment(
            Sample,
            {
                "YIWEN_SLOTS": "65",
                "YIWEN_RATIO": "nan",
                "YIWEN_WARM": "maybe",
                "YIWEN_LIMIT": "few",
                "YIWEN_BACKEND": "gpu",
                "YIWEN_SLOT": "4",
            },
        )
    text = str(caught.value)
    assert "\n" not in text
    for part in (
        "YIWEN_RELEASE is missing",
        "YIWEN_SLOTS must be at most 64, not 65",
        "YIWEN_RATIO must be at least 0.0",
        "YIWEN_WARM must be true or false",
        "YIWEN_LIMIT must be a whole number",
        "YIWEN_BACKEND must be one of auto, cpu",
        "YIWEN_SLOT is not a setting, did you mean YIWEN_SLOTS?",
    ):
        assert part in text


@pytest.mark.parametrize(("former", "name"), FORMER_NAMES.items())
def test_a_renamed_setting_is_named(former: str, name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{former} is now {name}: rename it$"):
        settings_from_environment(
            TransformerConfig, {"YIWEN_RELEASE": "/r", "YIWEN_PREDICTOR_URL": "http://p", former: "1"}
        )
    assert former not in environment_names(TransformerConfig)


def test_names_that_others_know_are_no_mistake() -> None:
    environ = {"YIWEN_RELEASE": "/r", "YIWEN_CACHE_BYTES": "1"}
    assert settings_from_environment(Sample, environ, known=("YIWEN_CACHE_BYTES",)) == Sample(Path("/r"))
    assert "YIWEN_RELEASE" in environment_names(Sample)


def test_the_server_has_defaults_for_everything() -> None:
    settings = settings_from_environment(ServerSettings, {})
    assert (settings.http_port, settings.grpc_port, settings.max_body_bytes) == (8080, 8081, 8 * 2**20)


def test_arguments_of_kserve_override_the_environment() -> None:
    arguments = "--model_name=m --predictor_host p:80 --http_port 8000 --workers 1 --grpc_port 0 --release /r"
    assert parse_kserve_arguments(arguments.split()) == {
        "YIWEN_MODEL_NAME": "m",
        "YIWEN_PREDICTOR_URL": "http://p:80",
        "YIWEN_HTTP_PORT": "8000",
        "YIWEN_GRPC_PORT": "0",
        "YIWEN_RELEASE": "/r",
    }
    assert parse_kserve_arguments([]) == {}
    assert parse_kserve_arguments(
        ["--predictor_use_ssl=true", "--predictor_host=p", "--enable_grpc=false"]
    ) == {
        "YIWEN_PREDICTOR_URL": "https://p",
        "YIWEN_GRPC_PORT": "0",
    }


def test_arguments_that_have_no_effect_are_named_not_refused() -> None:
    guides = "--predictor_protocol=v2 --nthreads=4 --enable_docs_url true --htp_port 80 --model_name m"
    assert parse_kserve_arguments(guides.split()) == {"YIWEN_MODEL_NAME": "m"}
    assert ignored_arguments(guides.split()) == [
        "--nthreads",
        "--enable_docs_url",
        "--htp_port, did you mean --http_port?",
    ]
    assert ignored_arguments(["--predictor_protocol", "grpc-v2"]) == [
        "--predictor_protocol (the predictor is called over v2)"
    ]
    assert ignored_arguments([]) == []


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--workers", "2"], "each load the model"),
        (["--model_name"], "expected one argument"),
        (["--enable_grpc", "maybe"], "true or false"),
    ],
)
def test_wrong_arguments_are_refused(argv: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse_kserve_arguments(argv)


def test_what_kubernetes_sets_for_services_named_yiwen_is_no_mistake() -> None:
    links = {
        "YIWEN_DEMO_SERVICE_HOST": "10.0.0.1",
        "YIWEN_DEMO_SERVICE_PORT": "80",
        "YIWEN_DEMO_PORT": "tcp://10.0.0.1:80",
        "YIWEN_DEMO_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert settings_from_environment(ServerSettings, links) == ServerSettings()
    with pytest.raises(SettingsError, match="YIWEN_DEMO_SLOTS"):
        settings_from_environment(ServerSettings, {**links, "YIWEN_DEMO_SLOTS": "1"})
