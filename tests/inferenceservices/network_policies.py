"""Evaluation of NetworkPolicies: which connections a set of them allows.

Semantics of networking.k8s.io/v1: in a direction for which no policy selects a pod, everything is allowed; otherwise
what at least one of the selecting policies allows. A connection must be allowed at both ends. The kubelet's probes
come from the pod's own node, which no policy blocks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inferenceservices.selectors import selects
from protocol.kubernetes.documents import Document, mapping, objects

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class Peer:
    """One end of a connection: a pod, or an address outside the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    """IP address of a peer that is no pod; pods are matched by labels."""

    @property
    def namespace_labels(self) -> Mapping[str, str]:
        """The label that Kubernetes sets on every namespace."""
        return {NAMESPACE_LABEL: self.namespace}


def may_connect(
    documents: Iterable[Document], source: Peer, target: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether ``source`` may open a connection to ``port`` of ``target`` under the NetworkPolicies of ``documents``.

    Args:
        documents: manifests; kinds other than NetworkPolicy are ignored.
        source: opens the connection.
        target: accepts it.
        port: of ``target``.
        protocol: TCP, UDP or SCTP.

    Raises:
        ValueError: a policy names a port by name or in a range, which is not supported.
    """
    policies = [d for d in documents if d.get("kind") == "NetworkPolicy"]
    leaves = _allows(policies, "Egress", source, target, port, protocol)
    return leaves and _allows(policies, "Ingress", target, source, port, protocol)


def _allows(
    policies: Iterable[Document], direction: str, own: Peer, other: Peer, port: int, protocol: str
) -> bool:
    """Whether the policies that select ``own`` allow the connection, whose direction for it is ``direction``."""
    if own.address:
        return True
    selecting = [policy for policy in policies if _selects_pod(policy, direction, own)]
    rules = [rule for policy in selecting for rule in objects(policy, "spec", direction.lower())]
    side = "to" if direction == "Egress" else "from"
    return not selecting or any(
        _port_matches(rule, port, protocol) and _peer_matches(rule, side, own, other) for rule in rules
    )


def _selects_pod(policy: Document, direction: str, pod: Peer) -> bool:
    spec = mapping(policy, "spec")
    types = spec.get("policyTypes") or ("Ingress", *(("Egress",) if spec.get("egress") else ()))
    same = mapping(policy, "metadata").get("namespace", "") == pod.namespace
    return same and direction in types and selects(mapping(spec, "podSelector"), pod.labels)


def _port_matches(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = objects(rule, "ports")
    for entry in ports:
        number = entry.get("port", port)
        if not isinstance(number, int) or "endPort" in entry:
            raise ValueError(
                "a NetworkPolicy names a port by name or in a range: give each port by its number"
            )
        if number == port and entry.get("protocol", "TCP") == protocol:
            return True
    return not ports


def _peer_matches(rule: Mapping[str, Any], side: str, own: Peer, other: Peer) -> bool:
    peers = objects(rule, side)
    return not peers or any(_is_peer(peer, own, other) for peer in peers)


def _is_peer(peer: Mapping[str, Any], own: Peer, other: Peer) -> bool:
    if "ipBlock" in peer:
        return bool(other.address) and _in_block(mapping(peer, "ipBlock"), other.address)
    if other.address:
        return False
    if "namespaceSelector" in peer:
        in_namespace = selects(mapping(peer, "namespaceSelector"), other.namespace_labels)
    else:
        in_namespace = own.namespace == other.namespace
    return in_namespace and selects(mapping(peer, "podSelector"), other.labels)


def _in_block(block: Mapping[str, Any], address: str) -> bool:
    ip = ipaddress.ip_address(address)
    excluded = any(ip in ipaddress.ip_network(str(part)) for part in block.get("except", ()))
    return ip in ipaddress.ip_network(str(block.get("cidr"))) and not excluded
