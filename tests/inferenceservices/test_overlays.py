"""What kubectl builds of overlays, release Jobs and combinations of components."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.utils import parse_quantity
from prometheus_client import CollectorRegistry

from inferenceservices.check import ROOT, check_build, check_knative_config
from inferenceservices.combinations import Combination, combinations, write_kustomization
from inferenceservices.knative_service import appended_arguments, knative_services
from knative.autoscaler.annotations import RevisionScaling, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.manifests import read_components
from predictor.config import PredictorConfig
from predictor.metrics import EngineMetrics
from protocol.kubernetes.documents import load_manifests, objects
from protocol.kubernetes.inference_service import KNATIVE, ServiceComponent, inference_services
from protocol.kubernetes.kubectl import KustomizeError, build_kustomization
from protocol.kubernetes.pods import arguments, environment, limits, requests
from serving.arguments import read_settings
from serving.metrics import Operation, RequestMetrics
from tests.inferenceservices.builds import (
    OVERLAYS,
    RELEASE_JOBS,
    crd_schemas,
    documents_of,
    repository_settings,
    require_kubectl,
)
from transformer.config import TransformerConfig
from transformer.memory_bound import memory_bound

BUILDS = [f"overlays/{name}" for name in OVERLAYS] + [f"release-jobs/{name}" for name in RELEASE_JOBS]


@pytest.mark.parametrize("name", BUILDS)
def test_overlays_break_no_rule(name: str) -> None:
    assert list(check_build(name, tuple(documents_of(name)), repository_settings(), None).findings) == []


@pytest.mark.parametrize("name", BUILDS)
def test_overlays_match_their_schemas(name: str) -> None:
    schemas = crd_schemas()
    assert list(check_build(name, tuple(documents_of(name)), repository_settings(), schemas).findings) == []


def test_knatives_configuration_has_documented_keys_alone() -> None:
    assert list(check_knative_config(tuple(documents_of("../knative")), crd_schemas()).findings) == []


def test_every_overlay_and_release_job_is_tested() -> None:
    directories = sorted(
        f"{group}/{path.name}" for group in ("overlays", "release-jobs") for path in (ROOT / group).iterdir()
    )
    assert directories == sorted(BUILDS)


def _components(name: str) -> list[ServiceComponent]:
    return [c for service in inference_services(documents_of(name)) for c in service.components]


PLATFORM_MILLICORES = {
    # kubeadm's defaults, which kind has: etcd, API server, controller manager, scheduler, two CoreDNS, kindnet
    "kubernetes": 100 + 250 + 200 + 100 + 2 * 100 + 100,
    # knative-v1.21.0's serving-core.yaml: activator, autoscaler, controller, webhook
    "knative": 300 + 100 + 100 + 100,
    # net-kourier 1.21's kourier.yaml: gateway and controller
    "kourier": 200 + 30,
    # KServe 0.17 to 0.20: controller manager
    "kserve": 100,
}
QUEUE_PROXY_REQUEST = "queue.sidecar.serving.knative.dev/cpu-resource-request"


def _millicores(containers: Iterable[Mapping[str, Any]]) -> list[int]:
    return [int(1000 * parse_quantity(each["resources"]["requests"]["cpu"])) for each in containers]


def test_the_laptop_overlay_and_its_job_fit_on_two_cores() -> None:
    components = _components("overlays/laptop")
    queue_proxies = [str(each.annotations[QUEUE_PROXY_REQUEST]) for each in components]
    containers = [container for each in components for container in each.pod.containers]
    service = sum(_millicores(containers)) + sum(int(1000 * parse_quantity(each)) for each in queue_proxies)
    (job,) = [each for each in documents_of("release-jobs/laptop") if each["kind"] == "Job"]
    pod = job["spec"]["template"]["spec"]
    build = max(sum(_millicores(pod["containers"])), *_millicores(pod["initContainers"]))
    # In a change of release both releases' pods run.
    assert 2 * service + build + sum(PLATFORM_MILLICORES.values()) <= 2000


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_transformer_has_the_memory_that_its_limits_may_take(name: str) -> None:
    (component,) = (c for c in _components(f"overlays/{name}") if c.name == "transformer")
    container = component.pod.containers[0]
    given = [*container["args"], *appended_arguments(component)]
    config, server = read_settings(TransformerConfig, given, environment(container))
    needed = memory_bound(
        max_body_bytes=server.max_body_bytes,
        max_bodies_bytes=server.max_bodies_bytes,
        max_text_bytes=config.max_text_bytes,
        text_threads=config.text_threads,
        cache_bytes=config.cache_bytes,
    )
    assert needed <= parse_quantity(limits(container)["memory"])
    assert limits(container)["memory"] == requests(container)["memory"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_both_services_accept_their_settings_and_arguments(name: str) -> None:
    for component in _components(f"overlays/{name}"):
        container = component.pod.containers[0]
        given = [argument.replace("{{.Name}}", "yiwen") for argument in container["args"]]
        if component.name == "predictor":
            own, server = read_settings(PredictorConfig, given, environment(container))
            assert str(own.slots) == environment(container)["YIWEN_SLOTS"]
        else:
            given += appended_arguments(component)
            transformer, server = read_settings(TransformerConfig, given, environment(container))
            namespace = component.service.namespace
            assert transformer.predictor_url == f"http://yiwen-predictor.{namespace}"
            assert transformer.read_timeout_s == server.drain_s == 600
        assert server.model_name == component.service.name == "yiwen"
        assert server.max_deadline_ms == 600_000
        ports = [port["containerPort"] for port in container["ports"]]
        assert ports == [server.http_port, *([server.grpc_port] if server.grpc_port else [])]


def _scaling(name: str) -> dict[str, RevisionScaling]:
    config = AutoscalerConfig()
    components = read_components(yaml.safe_dump_all(documents_of(f"overlays/{name}")), config)
    return {c.role: revision_scaling(c.annotations, c.container_concurrency, config) for c in components}


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name != "standard"])
def test_the_autoscaler_accepts_the_annotations_and_scales_by_slots(name: str) -> None:
    scaling = _scaling(name)
    (slots,) = (
        environment(c.pod.containers[0])["YIWEN_SLOTS"]
        for c in _components(f"overlays/{name}")
        if c.name == "predictor"
    )
    assert scaling["predictor"].metric == scaling["transformer"].metric == "concurrency"
    assert scaling["predictor"].target == int(slots)
    assert scaling["predictor"].progress_deadline > 900


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_request_to_the_predictor_is_a_unit_of_work(name: str) -> None:
    settings = {
        component.name: environment(component.pod.containers[0])
        for component in _components(f"overlays/{name}")
    }
    slots = int(settings["predictor"]["YIWEN_SLOTS"])
    size = int(settings["transformer"]["YIWEN_PREDICTOR_GROUP_SIZE"])
    assert int(settings["transformer"]["YIWEN_PREDICTOR_GROUPS_IN_FLIGHT"]) * size == slots + size
    assert size == (8 if name == "standard" else 1)


def test_only_the_predictor_scales_to_zero() -> None:
    scaling = _scaling("staging")
    assert (scaling["predictor"].min_scale, scaling["transformer"].min_scale) == (0, 1)
    assert scaling["predictor"].scale_to_zero_pod_retention_period == 600


def test_keda_queries_name_existing_metrics() -> None:
    registry = CollectorRegistry()
    EngineMetrics(registry)
    RequestMetrics("yiwen", registry).finished(Operation("rest"), 200, 1.0)
    known = {sample.name for family in registry.collect() for sample in family.samples}
    (predictor,) = (c for c in _components("overlays/standard") if c.name == "predictor")
    queries = [m["external"]["metric"]["query"] for m in objects(predictor.spec, "autoScaling", "metrics")]
    named = {metric for query in queries for metric in re.findall(r"yiwen_\w+", query)}
    assert len(queries) == 2
    assert named
    assert named <= known
    assert all(query.endswith(">= 0 or vector(0)") for query in queries), "KEDA must not see NaN, or nothing"
    assert not any("request_seconds" in query for query in queries), (
        "batches and streams are long by themselves"
    )
    assert all('namespace="yiwen"' in query and "NAMESPACE" not in query for query in queries)


@pytest.mark.parametrize("name", BUILDS)
def test_no_placeholder_is_left(name: str) -> None:
    text = yaml.safe_dump_all(documents_of(name))
    assert (
        re.findall(
            r"\b(?:REGISTRY|TAG|RELEASE|SLOTS|GROUP_SIZE|GROUPS_IN_FLIGHT|NAMESPACE|DEADLINE|NAME|SOURCE|PRECISION|PROMETHEUS)\b",
            text,
        )
        == []
    )


def _values_of(name: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path in (ROOT / "base" / "values.yaml", ROOT / "overlays" / name / "values" / "values.yaml"):
        values |= yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
    return values


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlays_values_are_copied_to_where_they_are_used(name: str) -> None:
    values = _values_of(name)
    documents = documents_of(f"overlays/{name}")
    namespaces = {d["metadata"].get("namespace", d["metadata"]["name"]) for d in documents}
    assert namespaces == {values["namespace"]}
    ours = {
        container["image"]
        for component in _components(f"overlays/{name}")
        for container in component.pod.all_containers
    }
    assert all(re.fullmatch(rf"{values['registry']}/[a-z-]+:{values['tag']}", image) for image in ours)
    for component in _components(f"overlays/{name}"):
        release = environment(component.pod.containers[0])["YIWEN_RELEASE"]
        source = component.spec.get("model", {}).get("storageUri", release)
        assert source.endswith(f"/releases/{values['release']}")
        assert component.spec["timeout"] == int(values["timeout"])


def test_values_with_a_port_and_dashes_are_copied_whole(tmp_path: Path) -> None:
    require_kubectl()
    (tmp_path / "values").mkdir()
    (tmp_path / "values" / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- patch: |-\n"
        "    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: values}\n"
        "    data: {registry: 'reg.example:5000/a/b', tag: v1-2, release: a-b.c, namespace: n-s}\n"
    )
    combination = Combination(("knative", "cpu", "storage-rwx", "values"))
    write_kustomization(combination, ROOT, tmp_path)
    written = tmp_path / "kustomization.yaml"
    first, last = written.read_text().rsplit("  - ", 1)
    written.write_text(f"{first}  - values\n  - {last}")
    (service,) = inference_services(load_manifests(build_kustomization(tmp_path)))
    (predictor, transformer) = service.components
    assert predictor.pod.containers[0]["image"] == "reg.example:5000/a/b/predictor-cpu:v1-2"
    assert environment(transformer.pod.containers[0])["YIWEN_RELEASE"] == "/mnt/models/releases/a-b.c"
    assert service.namespace == "n-s"


def test_an_overlay_without_the_values_component_is_refused(tmp_path: Path) -> None:
    require_kubectl()
    write_kustomization(Combination(("knative", "cpu", "storage-rwx")), ROOT, tmp_path)
    report = check_build(
        "forgetful", load_manifests(build_kustomization(tmp_path)), repository_settings(), None
    )
    assert {"model-name", "request-timeout", "drain-time"} <= {finding.rule for finding in report.findings}


def test_every_component_is_in_an_overlay_or_a_combination() -> None:
    used = {component for combination in combinations() for component in combination.components}
    for path in ROOT.rglob("kustomization.yaml"):
        listed = yaml.safe_load(path.read_text(encoding="utf-8")).get("components", ())
        used |= {Path(entry).name for entry in listed}
    assert {path.name for path in (ROOT / "components").iterdir()} <= used


def test_a_directory_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    require_kubectl()
    (tmp_path / "kustomization.yaml").write_text("resources: [absent.yaml]\n")
    with pytest.raises(KustomizeError, match=r"absent\.yaml"):
        build_kustomization(tmp_path)


def test_knative_services_match_those_of_kserves_controller() -> None:
    (service,) = inference_services(documents_of("overlays/staging"))
    predictor, transformer = knative_services(service)
    annotations = predictor["spec"]["template"]["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/min-scale"] == "0"
    assert annotations["autoscaling.knative.dev/target"] == "32"
    assert "serving.knative.dev/rollout-duration" not in annotations
    assert predictor["metadata"]["annotations"] == {"serving.knative.dev/rollout-duration": "300s"}
    assert predictor["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    assert predictor["spec"]["template"]["spec"]["timeoutSeconds"] == 660
    given = arguments(transformer["spec"]["template"]["spec"]["containers"][0])
    assert given["--predictor_host"] == "yiwen-predictor.yiwen-staging"
    assert given["--workers"] == "1"
    assert service.mode == KNATIVE
