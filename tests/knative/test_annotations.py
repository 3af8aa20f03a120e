from __future__ import annotations

from dataclasses import replace

import pytest

from knative.autoscaler.annotations import GROUP, PROGRESS_DEADLINE_KEY, RevisionScaling, revision_scaling
from knative.autoscaler.config import HPA_CLASS, KPA_CLASS, AutoscalerConfig
from knative.errors import ConfigError

CONFIG = AutoscalerConfig()


def read(config: AutoscalerConfig = CONFIG, /, **annotations: str) -> RevisionScaling:
    named = {GROUP + name.replace("_", "-"): value for name, value in annotations.items()}
    return revision_scaling(named, 0, config)


def test_without_annotations_the_clusters_settings_hold() -> None:
    config = replace(
        CONFIG, min_scale=2, max_scale=9, initial_scale=3, stable_window=30.0, scale_down_delay=20.0
    )
    assert revision_scaling({}, 8, config) == RevisionScaling(
        pod_autoscaler_class=KPA_CLASS,
        metric="concurrency",
        target=None,
        target_utilization=None,
        container_concurrency=8,
        min_scale=2,
        max_scale=9,
        initial_scale=3,
        activation_scale=0,
        window=30.0,
        panic_window_percentage=10.0,
        panic_threshold_percentage=200.0,
        scale_down_delay=20.0,
        target_burst_capacity=211.0,
        scale_to_zero_pod_retention_period=0.0,
        metric_aggregation_algorithm="linear",
        progress_deadline=600.0,
    )


def test_every_annotation_overrides_its_setting() -> None:
    annotations = {
        "class": KPA_CLASS,
        "metric": "rps",
        "target": "12.5",
        "target-utilization-percentage": "85",
        "min-scale": "1",
        "max-scale": "7",
        "initial-scale": "2",
        "activation-scale": "3",
        "window": "2m",
        "panic-window-percentage": "20",
        "panic-threshold-percentage": "150",
        "scale-down-delay": "15m",
        "target-burst-capacity": "-1",
        "scale-to-zero-pod-retention-period": "1m5s",
        "metric-aggregation-algorithm": "weighted-exponential",
    }
    named = {GROUP + key: value for key, value in annotations.items()}
    scaling = revision_scaling({**named, PROGRESS_DEADLINE_KEY: "20m"}, 4, CONFIG)
    assert scaling == RevisionScaling(
        KPA_CLASS,
        "rps",
        12.5,
        0.85,
        4,
        1,
        7,
        2,
        3,
        120.0,
        20.0,
        150.0,
        900.0,
        -1.0,
        65.0,
        "weighted-exponential",
        1200.0,
    )


def test_older_spellings_count_where_the_new_one_is_missing() -> None:
    annotations = {GROUP + "minScale": "2", GROUP + "maxScale": "5", GROUP + "max-scale": "4"}
    scaling = revision_scaling({**annotations, GROUP + "targetBurstCapacity": "0"}, 0, CONFIG)
    assert (scaling.min_scale, scaling.max_scale, scaling.target_burst_capacity) == (2, 4, 0.0)
    algorithm = read(metric_aggregation_algorithm="weightedExponential").metric_aggregation_algorithm
    assert algorithm == "weighted-exponential"


def test_annotations_that_never_had_an_older_spelling_are_ignored_in_it() -> None:
    assert revision_scaling({GROUP + "activationScale": "4"}, 0, CONFIG).activation_scale == 0


def test_unknown_annotations_are_ignored() -> None:
    assert revision_scaling({GROUP + "cooldown": "5m", "example.com/min-scale": "9"}, 0, CONFIG) == read()


REFUSED = [
    ({"class": "fast.autoscaling.knative.dev"}, "class"),
    ({"metric": "cpu"}, "metric"),
    ({"class": HPA_CLASS, "metric": ""}, "metric"),
    ({"target": "0"}, "target"),
    ({"target": "0.009"}, "target"),
    ({"target": "lots"}, "target"),
    ({"target_utilization_percentage": "0.9"}, "target-utilization-percentage"),
    ({"target_utilization_percentage": "101"}, "target-utilization-percentage"),
    ({"min_scale": "-1"}, "min-scale"),
    ({"min_scale": "1.5"}, "min-scale"),
    ({"max_scale": "-1"}, "max-scale"),
    ({"min_scale": "5", "max_scale": "4"}, "max-scale = 4"),
    ({"initial_scale": "0"}, "allow-zero-initial-scale"),
    ({"initial_scale": "-1"}, "initial-scale"),
    ({"initial_scale": "one"}, "initial-scale"),
    ({"activation_scale": "1"}, "activation-scale"),
    ({"activation_scale": "2", "min_scale": "3"}, "min-scale"),
    ({"activation_scale": "6", "max_scale": "5"}, "max-scale"),
    ({"window": "5s"}, "window"),
    ({"window": "1h1s"}, "window"),
    ({"window": "60s500ms"}, "window"),
    ({"panic_window_percentage": "0.9"}, "panic-window-percentage"),
    ({"panic_threshold_percentage": "109"}, "panic-threshold-percentage"),
    ({"panic_threshold_percentage": "1001"}, "panic-threshold-percentage"),
    ({"scale_down_delay": "-1s"}, "scale-down-delay"),
    ({"scale_down_delay": "1500ms"}, "scale-down-delay"),
    ({"scale_down_delay": "61m"}, "scale-down-delay"),
    ({"target_burst_capacity": "-0.5"}, "target-burst-capacity"),
    ({"scale_to_zero_pod_retention_period": "61m"}, "scale-to-zero-pod-retention-period"),
    ({"class": KPA_CLASS, "metric_aggregation_algorithm": "median"}, "metric-aggregation-algorithm"),
]


@pytest.mark.parametrize(("annotations", "named"), REFUSED)
def test_what_knatives_webhook_refuses_is_refused_by_key(annotations: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read(**annotations)


@pytest.mark.parametrize(
    "annotations",
    [
        {"min_scale": "5", "max_scale": "0"},
        {"activation_scale": "2", "min_scale": "2", "max_scale": "2"},
        {"window": "6s"},
        {"window": "1h"},
        {"target": "0.01"},
        {"target_burst_capacity": "0.5"},
        {"panic_threshold_percentage": "110"},
        {"scale_to_zero_pod_retention_period": "1500ms"},
        {"class": "mine.example.com", "metric": "queue"},
        {"class": HPA_CLASS, "metric": "cpu"},
    ],
)
def test_what_lies_on_the_edge_is_taken(annotations: dict[str, str]) -> None:
    assert read(**annotations) != read()


def test_the_algorithm_is_only_checked_where_the_class_is_named() -> None:
    assert read(metric_aggregation_algorithm="median").metric_aggregation_algorithm == "linear"


@pytest.mark.parametrize("value", ["0", "6"])
def test_the_clusters_limit_bounds_max_scale(value: str) -> None:
    config = replace(CONFIG, max_scale_limit=5, max_scale=5)
    with pytest.raises(ConfigError, match="max-scale-limit"):
        read(config, max_scale=value)
    assert read(config, max_scale="5").max_scale == 5


def test_knative_does_not_check_an_annotation_against_the_clusters_bounds() -> None:
    scaling = read(replace(CONFIG, min_scale=3), max_scale="2")
    assert (scaling.min_scale, scaling.max_scale) == (3, 2)


def test_zero_initial_scale_where_the_cluster_allows_it() -> None:
    assert read(replace(CONFIG, allow_zero_initial_scale=True), initial_scale="0").initial_scale == 0


@pytest.mark.parametrize("value", [-1, 1001])
def test_container_concurrency_is_bounded_by_the_cluster(value: int) -> None:
    with pytest.raises(ConfigError, match="containerConcurrency"):
        revision_scaling({}, value, CONFIG)


@pytest.mark.parametrize("value", ["0s", "-1s", "1500ms", "soon"])
def test_the_progress_deadline_is_whole_seconds(value: str) -> None:
    with pytest.raises(ConfigError, match="progress-deadline"):
        revision_scaling({PROGRESS_DEADLINE_KEY: value}, 0, CONFIG)
