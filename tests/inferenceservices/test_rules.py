"""Every rule with manifests that keep it and manifests that break it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inferenceservices.rules import check, rule_set
from protocol.kubernetes.inference_service import inference_services
from protocol.kubernetes.pods import environment
from tests.inferenceservices import broken
from tests.inferenceservices.broken import (
    KNATIVE,
    MODEL,
    STANDARD,
    Broken,
    knative,
    kserve_containers,
    kserve_webhook,
    own_rules,
)
from tests.inferenceservices.documents import (
    CLUSTER,
    REMOVE,
    Documents,
    edit,
    knative_documents,
    model_documents,
    standard_documents,
)

BASES: dict[str, Callable[[], Documents]] = {
    KNATIVE: knative_documents,
    STANDARD: standard_documents,
    MODEL: model_documents,
}
WITH_OTHERS = ("canary-quota", "mesh", "secret-in-manifest")
"""Rules for documents that the fixtures do not contain; each has its own test below."""
TABLE = (
    *kserve_containers.BROKEN,
    *kserve_webhook.BROKEN,
    *knative.FEATURES,
    *knative.NEVER_ALLOWED,
    *own_rules.BROKEN,
)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_manifests_that_keep_all_rules(base: Callable[[], Documents]) -> None:
    assert check(base(), CLUSTER) == []


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_a_broken_manifest_is_found_by_its_rule(case: Broken) -> None:
    documents = BASES[case.base]()
    for path, value in case.edits.items():
        edit(documents, path, value)
    messages = [finding.message for finding in check(documents, CLUSTER) if finding.rule == case.rule]
    assert any(case.also in message for message in messages), messages


def test_every_rule_has_a_manifest_that_breaks_it() -> None:
    rules = rule_set(CLUSTER)
    names = {*rules.services, *rules.components, *rules.pods, *rules.manifests}
    assert {case.rule for case in TABLE} | {*WITH_OTHERS} == names


def test_every_name_belongs_to_one_rule() -> None:
    rules = rule_set(CLUSTER)
    names = [*rules.services, *rules.components, *rules.pods, *rules.manifests]
    assert sorted(names) == sorted(set(names))


def test_a_canary_needs_twice_the_gpus() -> None:
    documents = knative_documents()
    service = documents[0]
    service["metadata"]["annotations"]["serving.kserve.io/enable-tag-routing"] = "true"
    for component in service["spec"].values():
        component["canaryTrafficPercent"] = 10
        component["minReplicas"] = 2
    hard = {"requests.nvidia.com/mig-1g.18gb": "4"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpu"}, "spec": {"hard": hard}}
    documents.append(quota)
    assert check(documents, CLUSTER) == []
    hard["requests.nvidia.com/mig-1g.18gb"] = "3"
    assert {finding.rule for finding in check(documents, CLUSTER)} == {"canary-quota"}


def test_the_mesh_needs_sidecars_and_a_predictor_that_is_never_behind_the_activator() -> None:
    documents = knative_documents()
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "a", "namespace": "demo"},
    }
    documents.append(policy)
    assert sorted(finding.rule for finding in check(documents, CLUSTER)) == ["mesh"] * 3
    for component in documents[0]["spec"].values():
        component["labels"]["sidecar.istio.io/inject"] = "true"
        component["annotations"]["autoscaling.knative.dev/target-burst-capacity"] = "0"
    assert check(documents, CLUSTER) == []
    documents[0]["spec"]["predictor"]["minReplicas"] = 0
    assert [finding.rule for finding in check(documents, CLUSTER)] == ["mesh"]


def test_destination_rules_need_standard_mode() -> None:
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "a", "namespace": "demo"},
    }
    for documents, found in ((knative_documents(), ["mesh", "mesh"]), (standard_documents(), [])):
        for component in documents[0]["spec"].values():
            component["labels"]["sidecar.istio.io/inject"] = "true"
        assert [finding.rule for finding in check([*documents, rule], CLUSTER)] == found


def test_only_a_secret_with_data_is_refused() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "stringData": {"password": "x"},
    }
    assert [finding.rule for finding in check([secret], CLUSTER)] == ["secret-in-manifest"]
    del secret["stringData"]
    assert check([secret], CLUSTER) == []


def test_a_path_to_a_credential_and_a_number_of_tokens_are_no_credentials() -> None:
    documents = knative_documents()
    environment = documents[0]["spec"]["transformer"]["containers"][0]["env"]
    environment.append({"name": "YIWEN_REDIS_PASSWORD_FILE", "value": "/etc/yiwen/redis/password"})
    environment.append({"name": "YIWEN_QUEUE_TOKENS", "value": "1000"})
    environment.append({"name": "YIWEN_REDIS_URL", "value": "redis://yiwen@host:6379/0"})
    assert check(documents, CLUSTER) == []


def test_flags_that_must_be_enabled_and_not_allowed() -> None:
    documents = knative_documents()
    features = {**CLUSTER.features, "kubernetes.podspec-persistent-volume-claim": "allowed"}
    changed = type(CLUSTER)(features=features, longest_timeout_s=CLUSTER.longest_timeout_s)
    assert {finding.rule for finding in check(documents, changed)} == {"feature-flags"}


@pytest.mark.parametrize(
    "path", [broken.PRE, broken.C0 + "resources", broken.C0 + "env", broken.C0 + "volumeMounts|0"]
)
@pytest.mark.parametrize("value", [None, 3, "text", [], {}, [3], [[]], {"a": None}])
def test_rules_accept_manifests_of_the_wrong_shape(path: str, value: object) -> None:
    documents = knative_documents()
    edit(documents, path.rstrip("|"), value)
    assert all(finding.message for finding in check(documents, CLUSTER))


def test_editing_and_removing_fields() -> None:
    documents = knative_documents()
    edit(documents, broken.C0 + "args|1", REMOVE)
    assert documents[0]["spec"]["predictor"]["containers"][0]["args"] == ["--model_name=yiwen"]


def test_a_predictor_with_a_model_is_merged_with_its_runtime() -> None:
    documents = model_documents()
    edit(
        documents,
        broken.PRE + "model|env",
        [{"name": "YIWEN_DRAIN_S", "value": "299"}, {"name": "A", "value": "1"}],
    )
    edit(documents, broken.PRE + "model|args", ["--grpc_port=0"])
    edit(documents, broken.PRE + "model|image", "example/other:1")
    (service,) = inference_services(documents)
    predictor = service.component("predictor")
    assert predictor is not None
    (container,) = predictor.pod.containers
    assert container["args"] == ["--model_name={{.Name}}", "--workers=1", "--grpc_port=0"]
    assert {"YIWEN_RELEASE": "/mnt/models", "YIWEN_DRAIN_S": "299", "A": "1"}.items() <= environment(
        container
    ).items()
    assert container["image"] == "example/other:1"
    assert set(predictor.pod.volumes) == {"models", "scratch"}
