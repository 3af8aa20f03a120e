from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.autoscaler.config import AutoscalerConfig, unknown_keys
from knative.autoscaler.quantities import parse_bool, parse_duration, parse_float, parse_int32
from knative.errors import ConfigError

DEFAULTS = {
    "pod-autoscaler-class": "kpa.autoscaling.knative.dev",
    "enable-scale-to-zero": "true",
    "allow-zero-initial-scale": "false",
    "max-scale-up-rate": "1000.0",
    "max-scale-down-rate": "2.0",
    "container-concurrency-target-percentage": "70",
    "container-concurrency-target-default": "100",
    "requests-per-second-target-default": "200",
    "target-burst-capacity": "211",
    "panic-window-percentage": "10.0",
    "panic-threshold-percentage": "200.0",
    "activator-capacity": "100.0",
    "initial-scale": "1",
    "min-scale": "0",
    "max-scale": "0",
    "max-scale-limit": "0",
    "stable-window": "60s",
    "scale-down-delay": "0s",
    "scale-to-zero-grace-period": "30s",
    "scale-to-zero-pod-retention-period": "0s",
}
"""Every key, as Knative ships the ConfigMap."""


def test_golden_defaults_are_knatives() -> None:
    assert AutoscalerConfig.from_data({}) == AutoscalerConfig.from_data(DEFAULTS) == AutoscalerConfig()
    assert {setting.metadata["key"] for setting in fields(AutoscalerConfig)} == set(DEFAULTS)


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("70", 0.7), ("0.7", 0.7), ("1", 1.0), ("1.0", 1.0), ("1.5", 0.015), ("100", 1.0)],
)
def test_the_target_percentage_is_a_fraction_up_to_one(text: str, fraction: float) -> None:
    config = AutoscalerConfig.from_data({"container-concurrency-target-percentage": text})
    assert config.container_concurrency_target_fraction == pytest.approx(fraction, rel=1e-15)


def test_values_are_read_as_go_reads_them() -> None:
    config = AutoscalerConfig.from_data(
        {
            "pod-autoscaler-class": " hpa.autoscaling.knative.dev\n",
            "enable-scale-to-zero": "F",
            "allow-zero-initial-scale": "1",
            "initial-scale": "+0",
            "max-scale-up-rate": "1e3",
            "stable-window": "1m30s",
            "scale-down-delay": "1.5h",
            "scale-to-zero-pod-retention-period": "1500ms",
        }
    )
    assert config.pod_autoscaler_class == "hpa.autoscaling.knative.dev"
    assert (config.enable_scale_to_zero, config.allow_zero_initial_scale, config.initial_scale) == (
        False,
        True,
        0,
    )
    assert (config.max_scale_up_rate, config.stable_window, config.scale_down_delay) == (1000.0, 90.0, 5400.0)
    assert config.scale_to_zero_pod_retention_period == 1.5


REFUSED = [
    ({"scale-to-zero-grace-period": "0s"}, "scale-to-zero-grace-period"),
    ({"scale-to-zero-grace-period": "-5s"}, "scale-to-zero-grace-period"),
    ({"scale-down-delay": "-1s"}, "scale-down-delay"),
    ({"scale-down-delay": "1500ms"}, "scale-down-delay"),
    ({"scale-to-zero-pod-retention-period": "-4s"}, "scale-to-zero-pod-retention-period"),
    ({"target-burst-capacity": "-2"}, "target-burst-capacity"),
    ({"container-concurrency-target-percentage": "-42"}, "container-concurrency-target-percentage"),
    ({"container-concurrency-target-percentage": "0"}, "container-concurrency-target-percentage"),
    ({"container-concurrency-target-percentage": "142.4"}, "container-concurrency-target-percentage"),
    (
        {"container-concurrency-target-percentage": "5", "container-concurrency-target-default": "0.1"},
        "container-concurrency-target-default",
    ),
    ({"requests-per-second-target-default": "-10"}, "requests-per-second-target-default"),
    ({"activator-capacity": "0.9"}, "activator-capacity"),
    ({"max-scale-up-rate": "1"}, "max-scale-up-rate"),
    ({"max-scale-down-rate": "0.999"}, "max-scale-down-rate"),
    ({"stable-window": "1s"}, "stable-window"),
    ({"stable-window": "2h"}, "stable-window"),
    ({"stable-window": "120s500ms"}, "stable-window"),
    ({"panic-window-percentage": "0.5"}, "panic-window-percentage"),
    ({"panic-window-percentage": "110"}, "panic-window-percentage"),
    ({"initial-scale": "-1"}, "initial-scale"),
    ({"initial-scale": "0"}, "allow-zero-initial-scale"),
    ({"min-scale": "-1"}, "min-scale"),
    ({"max-scale": "-1"}, "max-scale"),
    ({"max-scale-limit": "10"}, "max-scale"),
    ({"max-scale-limit": "10", "max-scale": "11"}, "max-scale-limit"),
    ({"max-scale-limit": "-1"}, "max-scale-limit"),
    ({"min-scale": "5", "max-scale": "4"}, "min-scale"),
    ({"max-scale": "many"}, "max-scale"),
    ({"max-scale": "2147483648"}, "max-scale"),
    ({"stable-window": "60"}, "stable-window"),
    ({"enable-scale-to-zero": "yes"}, "enable-scale-to-zero"),
    ({"max-scale-up-rate": "fast"}, "max-scale-up-rate"),
    ({"max-scale-up-rate": "NaN"}, "max-scale-up-rate"),
]


@pytest.mark.parametrize(("data", "key"), REFUSED)
def test_what_knatives_webhook_refuses_is_refused_by_key_and_value(data: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        AutoscalerConfig.from_data(data)


@pytest.mark.parametrize(
    "data",
    [
        {"max-scale-limit": "10", "max-scale": "10"},
        {"min-scale": "5", "max-scale": "0"},
        {"initial-scale": "0", "allow-zero-initial-scale": "true"},
        {"target-burst-capacity": "-1"},
        {"target-burst-capacity": "0"},
        {"stable-window": "6s"},
        {"stable-window": "1h"},
        {"panic-window-percentage": "100"},
    ],
)
def test_what_lies_on_the_edge_is_taken(data: dict[str, str]) -> None:
    config = AutoscalerConfig.from_data(data)
    assert config != AutoscalerConfig()


def test_keys_that_knative_ignores_are_ignored_and_can_be_named() -> None:
    data = {"stable_window": "30s", "_example": "stable-window: 10s", "tick-interval": "2s", "max-scale": "3"}
    assert AutoscalerConfig.from_data(data).stable_window == 60.0
    assert unknown_keys(data) == ("stable_window", "tick-interval")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("+5s", 5.0),
        ("-1.5h", -5400.0),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("1h2m3s4ms5us6ns", 3723.004005006),
        ("3µs", 3e-6),
        ("3μs", 3e-6),
        ("1m1m", 120.0),
        ("0.3333333333333333333h", 1200.0),
    ],
)
def test_golden_durations_of_go(text: str, seconds: float) -> None:
    assert parse_duration("key", text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "3", "-", "s", ".", ".s", "1 s", "1d", "60sec", "1e3s", "3000000h", "٣s"]
)
def test_what_go_takes_for_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="key"):
        parse_duration("key", text)


@pytest.mark.parametrize("text", ["", " 1", "1_000", "0x10", "inf", "1e999", "٣", "1,5"])
def test_what_is_no_finite_decimal_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="finite"):
        parse_float("key", text)


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "1_0", " 1", "-2147483649", "9" * 5000])
def test_what_is_no_int32_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="key"):
        parse_int32("key", text)


def test_booleans_are_spelled_as_in_go() -> None:
    assert [parse_bool("k", text) for text in ("1", "t", "T", "TRUE", "true", "True")] == [True] * 6
    assert [parse_bool("k", text) for text in ("0", "f", "F", "FALSE", "false", "False")] == [False] * 6


@given(st.integers(0, 3599), st.integers(0, 999))
def test_a_duration_says_its_seconds(seconds: int, milliseconds: int) -> None:
    text = f"{seconds // 60}m{seconds % 60}s{milliseconds}ms"
    assert parse_duration("key", text) == pytest.approx(seconds + milliseconds / 1000)


def refusal(data: dict[str, str]) -> str | None:
    try:
        AutoscalerConfig.from_data(data)
    except ConfigError as error:
        return str(error)
    return None


@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.text(max_size=8), max_size=4))
def test_any_text_is_read_or_refused_by_its_key(data: dict[str, str]) -> None:
    message = refusal(data)
    assert message is None or any(key in message for key in data)
