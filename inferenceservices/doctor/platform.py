"""Checks before applying: kinds, versions and settings of KServe, Knative, KEDA, Istio and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inferenceservices.doctor.diagnosis import Check, Diagnoses, Diagnosis
from inferenceservices.doctor.snapshot import ClusterSnapshot, labels_of, name_of
from inferenceservices.doctor.versions import Version, installed_version, is_installed
from inferenceservices.rules.features import missing_features
from inferenceservices.selectors import selects
from protocol.kubernetes.documents import Document, kind_and_name, mapping, objects, string_map
from protocol.kubernetes.inference_service import KNATIVE, STANDARD, ServiceComponent
from protocol.kubernetes.pods import environment

KSERVE_WITH_MODES: Version = (0, 16)
"""The first KServe that knows the modes Knative and Standard (kserve/kserve#4608)."""
KEDA_WITHOUT_NAN: Version = (2, 20)
"""The first KEDA that takes NaN for no value (kedacore/keda#7522)."""
ISTIO_RESTRICTED: Version = (1, 28)
"""The first Istio whose sidecars a restricted namespace admits."""
KSERVE_DEPLOYMENT, KEDA_DEPLOYMENT, ISTIO_DEPLOYMENT = "kserve-controller-manager", "keda-operator", "istiod"
KNATIVE_GROUP = "serving.knative.dev"
TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
INSTALL = {
    "serving.kserve.io": "helm install kserve oci://ghcr.io/kserve/charts/kserve -n kserve --create-namespace",
    "security.istio.io": "istioctl install --set components.cni.enabled=true",
    "networking.istio.io": "istioctl install --set components.cni.enabled=true",
    "gateway.networking.k8s.io": "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/"
    "releases/latest/download/standard-install.yaml",
    "monitoring.coreos.com": "helm install monitoring kube-prometheus-stack -n monitoring --create-namespace "
    "--repo https://prometheus-community.github.io/helm-charts",
}
"""The command that installs an API group."""


def missing_kinds(snapshot: ClusterSnapshot) -> Diagnoses:
    """Kinds of the overlay whose API group is not served at all."""
    for group, _, kind, document in _custom(snapshot):
        if not _versions(snapshot, group):
            fix = INSTALL.get(group, f"kubectl get crd -o name | grep {group}")
            yield Diagnosis(
                kind_and_name(document), f"the cluster has no {kind}", f"no API group {group} is served", fix
            )


def missing_versions(snapshot: ClusterSnapshot) -> Diagnoses:
    """Kinds of the overlay that are served in other versions only, or not in this one."""
    for group, version, kind, document in _custom(snapshot):
        served = _versions(snapshot, group)
        if served and kind not in served.get(version, ()):
            yield Diagnosis(
                kind_and_name(document),
                f"the cluster does not serve {kind} in {group}/{version}",
                f"{group} is served in {', '.join(sorted(served))}",
                f"kubectl get crd -o wide | grep {group}",
            )


def old_kserve(snapshot: ClusterSnapshot) -> Diagnoses:
    """A KServe that does not know the present names of deployment modes."""
    version = installed_version(snapshot, KSERVE_DEPLOYMENT)
    if version and version < KSERVE_WITH_MODES and any(s.mode for s in snapshot.services):
        yield _too_old("KServe", KSERVE_DEPLOYMENT, version, KSERVE_WITH_MODES, INSTALL["serving.kserve.io"])


def keda_nan(snapshot: ClusterSnapshot) -> Diagnoses:
    """A query that may be NaN, under a KEDA that takes NaN for a number."""
    version = installed_version(snapshot, KEDA_DEPLOYMENT)
    if not version or version >= KEDA_WITHOUT_NAN:
        return
    for component in snapshot.components:
        for query in _queries(component):
            if "vector(0)" not in query or ">= 0" not in query:
                yield Diagnosis(
                    component.pod.location,
                    "a query without requests is NaN, which this KEDA takes for a very small number",
                    f"KEDA {_text(version)}; query: {query}",
                    "append `>= 0 or vector(0)` to the query, or upgrade: helm upgrade keda kedacore/keda -n keda",
                )


def missing_keda(snapshot: ClusterSnapshot) -> Diagnoses:
    """Standard mode scaled by KEDA on a cluster that has none."""
    for component in snapshot.components:
        if (
            component.service.mode == STANDARD
            and _queries(component)
            and not is_installed(snapshot, KEDA_DEPLOYMENT)
        ):
            yield Diagnosis(
                component.pod.location,
                "it is scaled by KEDA, and the cluster has none",
                f"no Deployment {KEDA_DEPLOYMENT} in any namespace",
                "helm install keda keda -n keda --create-namespace --repo https://kedacore.github.io/charts",
            )


def missing_knative(snapshot: ClusterSnapshot) -> Diagnoses:
    """Knative mode on a cluster without Knative Serving."""
    for component in _knative(snapshot):
        if not _versions(snapshot, KNATIVE_GROUP):
            yield Diagnosis(
                component.pod.location,
                "it is in Knative mode, and the cluster has no Knative Serving",
                f"no API group {KNATIVE_GROUP} is served",
                "install Knative Serving (https://knative.dev/docs/install) and run scripts/configure-knative, "
                "or use an overlay with the component standard",
            )


def features_off(snapshot: ClusterSnapshot) -> Diagnoses:
    """Fields of pods that Knative refuses, since a feature is off."""
    features = snapshot.data("config-features")
    if not _versions(snapshot, KNATIVE_GROUP):
        return
    for component in _knative(snapshot):
        for flag, fields in missing_features(component.pod, features).items():
            yield Diagnosis(
                component.pod.location,
                f"Knative refuses {fields}",
                f"config-features: {flag} is {features.get(flag, 'not set')}",
                "scripts/configure-knative",
            )


def long_timeout(snapshot: ClusterSnapshot) -> Diagnoses:
    """A timeout above the longest one that Knative admits."""
    longest = snapshot.data("config-defaults").get("max-revision-timeout-seconds", "600")
    for component in _knative(snapshot):
        timeout = component.declared.get("timeout")
        is_long = isinstance(timeout, int) and longest.isdecimal() and timeout > int(longest)
        if is_long and _versions(snapshot, KNATIVE_GROUP):
            yield Diagnosis(
                component.pod.location,
                f"Knative refuses a timeout of {timeout} s",
                f"config-defaults: max-revision-timeout-seconds is {longest}",
                "scripts/configure-knative",
            )


def no_scale_to_zero(snapshot: ClusterSnapshot) -> Diagnoses:
    """A component that may go to zero, on a cluster where nothing may."""
    value = snapshot.data("config-autoscaler").get("enable-scale-to-zero", "true")
    for component in _knative(snapshot):
        if component.declared.get("minReplicas") == 0 and value == "false":
            yield Diagnosis(
                component.pod.location,
                "it will never go to zero replicas",
                "config-autoscaler: enable-scale-to-zero is false",
                "scripts/configure-knative",
            )


def no_tag_routing(snapshot: ClusterSnapshot) -> Diagnoses:
    """A transformer that looks for predictors by tags, which KServe does not make."""
    for component in _knative(snapshot):
        modes = [environment(c).get("YIWEN_PREDICTOR_DISCOVERY", "") for c in component.pod.containers]
        if any("tags" in mode for mode in modes) and component.service.annotations.get(TAG_ROUTING) != "true":
            yield Diagnosis(
                component.pod.location,
                "during a canary it finds no predictor of its own release by tag",
                f"the annotation {TAG_ROUTING} is {component.service.annotations.get(TAG_ROUTING, 'not set')}",
                f'add {TAG_ROUTING}: "true" to the annotations in the overlay',
            )


def missing_mesh(snapshot: ClusterSnapshot) -> Diagnoses:
    """Pods that ask for a sidecar on a cluster without Istio, or with one that is too old."""
    asks = [c for c in snapshot.components if c.pod.labels.get("sidecar.istio.io/inject") == "true"]
    version = installed_version(snapshot, ISTIO_DEPLOYMENT)
    fix = f"{INSTALL['security.istio.io']} --set values.global.proxy.seccompProfile.type=RuntimeDefault"
    if asks and not is_installed(snapshot, ISTIO_DEPLOYMENT):
        evidence = f"no Deployment {ISTIO_DEPLOYMENT} in any namespace"
        yield Diagnosis(
            asks[0].pod.location, "pods want a sidecar, and the cluster has no Istio", evidence, fix
        )
    elif asks and version and version < ISTIO_RESTRICTED:
        yield _too_old("Istio", ISTIO_DEPLOYMENT, version, ISTIO_RESTRICTED, fix)


def unwanted_mesh(snapshot: ClusterSnapshot) -> Diagnoses:
    """A namespace that gets sidecars although the overlay's policies are not made for them."""
    labels = labels_of(snapshot.named("namespaces", snapshot.namespace) or {})
    if labels.get("istio-injection") == "enabled" and not any(
        "sidecar.istio.io/inject" in component.pod.labels for component in snapshot.components
    ):
        yield Diagnosis(
            f"Namespace/{snapshot.namespace}",
            "every pod gets a sidecar, and the network policies of the overlay do not let it talk to Istio",
            "label istio-injection is enabled",
            f"kubectl label namespace {snapshot.namespace} istio-injection-, or add the component istio",
        )


def unread_monitors(snapshot: ClusterSnapshot) -> Diagnoses:
    """A PodMonitor that no Prometheus of the cluster selects."""
    monitors = [d for d in snapshot.manifests if d.get("kind") == "PodMonitor"]
    for monitor in monitors:
        servers = snapshot.of("prometheuses")
        if servers and not any(_reads(server, monitor) for server in servers):
            selector = mapping(servers[0], "spec").get("podMonitorSelector")
            yield Diagnosis(
                kind_and_name(monitor),
                "no Prometheus reads it",
                f"{kind_and_name({'kind': 'Prometheus', **servers[0]})} selects {selector}",
                f"kubectl -n {snapshot.namespace} label podmonitor {name_of(monitor)} "
                + " ".join(f"{k}={v}" for k, v in string_map(selector, "matchLabels").items()),
            )


def _reads(server: Document, monitor: Document) -> bool:
    selector = mapping(server, "spec").get("podMonitorSelector")
    return isinstance(selector, Mapping) and selects(selector, labels_of(monitor))


def _custom(snapshot: ClusterSnapshot) -> Iterator[tuple[str, str, str, Document]]:
    """Group, version and kind of the first manifest of each kind outside of the core API."""
    seen = set()
    for document in snapshot.manifests:
        group, _, version = str(document.get("apiVersion")).rpartition("/")
        key = group, version, str(document.get("kind"))
        if group and key not in seen:
            seen.add(key)
            yield *key, document


def _versions(snapshot: ClusterSnapshot, group: str) -> dict[str, list[str]]:
    """Kinds of an API group by version."""
    found = [d for d in snapshot.of("kinds") if d.get("group") == group]
    return {str(d["version"]): [str(kind) for kind in d["kinds"]] for d in found}


def _knative(snapshot: ClusterSnapshot) -> Iterator[ServiceComponent]:
    return (component for component in snapshot.components if component.service.mode == KNATIVE)


def _queries(component: ServiceComponent) -> list[str]:
    entries = objects(component.declared, "autoScaling", "metrics")
    return [query for e in entries if (query := str(mapping(e, "external", "metric").get("query", "")))]


def _too_old(what: str, deployment: str, version: Version, wanted: Version, fix: str) -> Diagnosis:
    return Diagnosis(
        f"Deployment/{deployment}",
        f"{what} is older than {_text(wanted)}",
        f"its image says {_text(version)}",
        fix,
    )


def _text(version: Version) -> str:
    return ".".join(map(str, version))


CHECKS = (
    Check("kind-missing", "a kind of the overlay that the cluster does not know", ("kinds",), missing_kinds),
    Check("kind-version", "a kind that is served in other versions only", ("kinds",), missing_versions),
    Check("kserve-old", "KServe before 0.16, which does not know the modes", ("deployments",), old_kserve),
    Check("keda-missing", "Standard mode without KEDA", ("deployments",), missing_keda),
    Check("keda-nan", "a query that is NaN under a KEDA before 2.20", ("deployments",), keda_nan),
    Check("knative-missing", "Knative mode without Knative Serving", ("kinds",), missing_knative),
    Check(
        "knative-feature", "a feature of Knative that pods need is off", ("configmaps", "kinds"), features_off
    ),
    Check("knative-timeout", "a timeout above Knative's longest", ("configmaps", "kinds"), long_timeout),
    Check("knative-zero", "scale to zero is off in the cluster", ("configmaps",), no_scale_to_zero),
    Check("tag-routing", "tag routing is off, and predictors are found by tag", (), no_tag_routing),
    Check(
        "mesh-missing",
        "pods want Istio's sidecar, and Istio is missing or old",
        ("deployments",),
        missing_mesh,
    ),
    Check(
        "mesh-unwanted",
        "the namespace adds sidecars that the overlay does not expect",
        ("namespaces",),
        unwanted_mesh,
    ),
    Check("monitor-unread", "no Prometheus selects the PodMonitor", ("prometheuses",), unread_monitors),
)
