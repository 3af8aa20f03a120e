from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from knative.autoscaler.annotations import GROUP, revision_scaling
from knative.autoscaler.config import KPA_CLASS, AutoscalerConfig, unknown_keys
from knative.autoscaler.manifests import (
    ScalableComponent,
    example_checksum,
    read_autoscaler_config,
    read_components,
)
from knative.errors import ConfigError

CONFIG = AutoscalerConfig()

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: config-autoscaler
  namespace: knative-serving
data:
  stable-window: "30s"
  container-concurrency-target-percentage: "85"
"""

INFERENCE_SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: yiwen
  annotations:
    serving.kserve.io/deploymentMode: Knative
    autoscaling.knative.dev/window: "90s"
    autoscaling.knative.dev/target-burst-capacity: "-1"
    autoscaling.knative.dev/min-scale: "9"
spec:
  predictor:
    minReplicas: 2
    maxReplicas: 6
    scaleTarget: 12
    scaleMetric: concurrency
    containerConcurrency: 16
    timeout: 60
    canaryTrafficPercent: 10
    annotations:
      autoscaling.knative.dev/window: "120s"
      autoscaling.knative.dev/target: "5"
      autoscaling.knative.dev/max-scale: "99"
  transformer: {}
"""

SERVICE = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: gateway}
spec:
  template:
    metadata:
      annotations: {autoscaling.knative.dev/max-scale: "3"}
    spec: {containerConcurrency: 4, timeoutSeconds: 20}
"""


def test_the_config_map_is_found_among_other_documents() -> None:
    config = read_autoscaler_config(f"{SERVICE}\n---\n{CONFIG_MAP}\n---\n")
    assert config == AutoscalerConfig(stable_window=30.0, container_concurrency_target_fraction=0.85)


def test_the_config_map_of_this_repository_is_taken_and_has_no_unknown_key() -> None:
    path = Path(__file__).parents[2] / "knative" / "config-autoscaler.yaml"
    text = path.read_text(encoding="utf-8")
    read_autoscaler_config(text)
    assert unknown_keys(yaml.safe_load(text)["data"]) == ()


def test_a_file_without_the_config_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="no ConfigMap config-autoscaler"):
        read_autoscaler_config(SERVICE)


def test_the_example_block_has_no_effect_and_must_not_be_edited() -> None:
    example = "# stable-window\nstable-window: 10s\n\npanic: 1"
    assert example_checksum("\n a\r\n\n b ") == example_checksum("a\n b")
    document = CONFIG_MAP.replace("data:\n", 'data:\n  _example: "' + example.replace("\n", "\\n") + '"\n')
    annotated = document.replace(
        "metadata:\n",
        f'metadata:\n  annotations: {{knative.dev/example-checksum: "{example_checksum(example)}"}}\n',
    )
    assert read_autoscaler_config(annotated).stable_window == 30.0
    with pytest.raises(ConfigError, match="_example"):
        read_autoscaler_config(annotated.replace("10s", "20s"))


def test_golden_checksum_of_the_example() -> None:
    # CRC-32 of the text with each run of line breaks as backslash and n.
    assert example_checksum("a") == "e8b7be43"
    assert example_checksum("a\n\nb") == example_checksum("a\\nb")


def test_a_value_without_quotes_is_refused_as_kubernetes_does() -> None:
    with pytest.raises(ConfigError, match=r"data.max-scale must be a string.*\"4\""):
        read_autoscaler_config(CONFIG_MAP + "  max-scale: 4\n")


def test_an_inference_service_comes_to_one_knative_service_per_component() -> None:
    predictor, transformer = read_components(INFERENCE_SERVICE, CONFIG)
    assert predictor == ScalableComponent(
        name="yiwen-predictor",
        role="predictor",
        annotations={
            "serving.kserve.io/deploymentMode": "Knative",
            GROUP + "class": KPA_CLASS,
            GROUP + "window": "120s",
            GROUP + "target-burst-capacity": "-1",
            GROUP + "target": "12",
            GROUP + "metric": "concurrency",
            GROUP + "min-scale": "2",
            GROUP + "max-scale": "6",
        },
        container_concurrency=16,
        timeout_seconds=60,
        canary_traffic_percent=10,
    )
    assert transformer.name == "yiwen-transformer"
    assert (transformer.container_concurrency, transformer.timeout_seconds) == (0, None)
    scaling = revision_scaling(transformer.annotations, 0, CONFIG)
    assert (scaling.window, scaling.target_burst_capacity) == (90.0, -1.0)
    assert (scaling.min_scale, scaling.max_scale) == (1, 0)


def test_min_replicas_of_zero_is_not_the_default() -> None:
    predictor, _ = read_components(INFERENCE_SERVICE.replace("minReplicas: 2", "minReplicas: 0"), CONFIG)
    assert predictor.annotations[GROUP + "min-scale"] == "0"


def test_a_named_predictor_has_its_name_in_the_service() -> None:
    predictor, _ = read_components(
        INFERENCE_SERVICE.replace("minReplicas: 2", "name: large\n    minReplicas: 2"), CONFIG
    )
    assert predictor.name == "yiwen-large-predictor"


@pytest.mark.parametrize(
    ("value", "allowed", "kept"),
    [("3", False, True), ("0", False, False), ("0", True, True), ("many", True, False)],
)
def test_kserve_drops_an_initial_scale_that_knative_would_refuse(
    value: str, allowed: bool, kept: bool
) -> None:
    text = INFERENCE_SERVICE.replace('window: "90s"', f'initial-scale: "{value}"')
    config = replace(CONFIG, allow_zero_initial_scale=allowed)
    predictor, _ = read_components(text, config)
    assert (GROUP + "initial-scale" in predictor.annotations) is kept


def test_without_a_deployment_mode_it_is_taken_for_knatives() -> None:
    text = INFERENCE_SERVICE.replace("    serving.kserve.io/deploymentMode: Knative\n", "")
    assert len(read_components(text, CONFIG)) == 2


def test_an_inference_service_without_annotations_has_the_defaults() -> None:
    text = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: bare}
spec: {predictor: {}}
"""
    (predictor,) = read_components(text, CONFIG)
    scaling = revision_scaling(predictor.annotations, predictor.container_concurrency, CONFIG)
    assert scaling == replace(revision_scaling({}, 0, CONFIG), min_scale=1)


def test_a_knative_service_is_read_from_its_template() -> None:
    (service,) = read_components(SERVICE, CONFIG)
    assert service == ScalableComponent("gateway", "service", {GROUP + "max-scale": "3"}, 4, 20, None)


def test_items_of_a_list_are_read_and_other_kinds_passed_over() -> None:
    indented = "\n".join(f"    {line}" for line in SERVICE.strip().splitlines())
    text = (
        f"kind: List\nitems:\n  -\n{indented}\n  - {{apiVersion: v1, kind: Service, metadata: {{name: x}}}}\n"
    )
    assert [component.name for component in read_components(text, CONFIG)] == ["gateway"]


STANDARD = INFERENCE_SERVICE.replace("deploymentMode: Knative", "deploymentMode: Standard")
MISPLACED = SERVICE.replace(
    "{name: gateway}", '{name: gateway, annotations: {autoscaling.knative.dev/min-scale: "1"}}'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no InferenceService"),
        ("- 1\n- 2\n", "no InferenceService"),
        ("a:\n  [", "not YAML at line 2"),
        (STANDARD, "Standard"),
        (MISPLACED, "spec.template.metadata.annotations"),
        (SERVICE.replace('"3"', "3"), "must be a string"),
        (SERVICE.replace("containerConcurrency: 4", 'containerConcurrency: "4"'), "containerConcurrency"),
        (INFERENCE_SERVICE.replace("minReplicas: 2", "minReplicas: -1"), "minReplicas"),
        (INFERENCE_SERVICE.replace("timeout: 60", "timeout: true"), "timeout"),
        (INFERENCE_SERVICE.replace("transformer: {}", "transformer: [1]"), "transformer must be a mapping"),
        (SERVICE.replace("{name: gateway}", "{}"), "metadata.name"),
    ],
)
def test_what_cannot_be_scaled_is_refused_with_the_fix(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_components(text, CONFIG)
