"""Rules over manifests of any shape: they find faults or none, and never stumble."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inferenceservices.knative_service import knative_services
from inferenceservices.rules import check
from protocol.kubernetes.inference_service import inference_services
from tests.inferenceservices.documents import (
    CLUSTER,
    Documents,
    knative_documents,
    model_documents,
    standard_documents,
)
from tests.inferenceservices.network_policies import Peer, may_connect

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    found = []
    for key, child in entries:
        found += [(*path, key), *_paths(child, (*path, key))]
    return found


BASES: list[Documents] = [knative_documents(), standard_documents(), model_documents()]
PLACES = [
    (number, path)
    for number, documents in enumerate(BASES)
    for path in _paths(documents)
    if len(path) > 1 and path[1:] not in (("kind",), ("metadata",), ("metadata", "name"))
]


@given(st.sampled_from(PLACES), ANYTHING)
@settings(max_examples=300)
def test_rules_accept_fields_of_any_type(place: tuple[int, tuple[Any, ...]], value: object) -> None:
    number, path = place
    documents = copy.deepcopy(BASES[number])
    target: Any = documents
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    for finding in check(documents, CLUSTER):
        assert finding.message
        assert finding.where
    for service in inference_services(documents):
        assert len(knative_services(service)) == len(service.components)


LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), max_size=2)
PEERS = st.builds(Peer, namespace=st.sampled_from(["n", "m"]), labels=LABELS)
SELECTORS = st.builds(lambda labels: {"matchLabels": labels}, LABELS)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(st.fixed_dictionaries({}, optional={"podSelector": SELECTORS}), max_size=2),
        "ports": st.lists(st.builds(lambda port: {"port": port}, st.sampled_from([1, 2])), max_size=2),
    },
)
POLICIES = st.builds(
    lambda selector, rules: {
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "n"},
        "spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": rules},
    },
    SELECTORS,
    st.lists(RULES, max_size=2),
)


@given(st.lists(POLICIES, min_size=1, max_size=3), POLICIES, PEERS, PEERS, st.sampled_from([1, 2]))
def test_another_policy_never_removes_a_connection(
    policies: list[dict[str, Any]], another: dict[str, Any], source: Peer, target: Peer, port: int
) -> None:
    everybody = {**policies[0], "spec": {**policies[0]["spec"], "podSelector": {}}}
    before = may_connect([everybody, *policies], source, target, port)
    assert may_connect([everybody, *policies, another], source, target, port) >= before
    assert may_connect([another, *policies, everybody], source, target, port) == may_connect(
        [everybody, *policies, another], source, target, port
    )
