"""Rules for pods in Knative mode that no feature flag changes.

From ``pkg/apis/serving/fieldmask.go`` and ``k8s_validation.go`` of knative/serving 98e5ef90.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from inferenceservices.rules.findings import ComponentRule, Violations
from protocol.kubernetes.documents import mapping, objects
from protocol.kubernetes.inference_service import KNATIVE, ServiceComponent

FORBIDDEN = (
    "terminationGracePeriodSeconds",
    "restartPolicy",
    "activeDeadlineSeconds",
    "nodeName",
    "hostname",
    "subdomain",
    "priority",
    "readinessGates",
    "resourceClaims",
    "overhead",
    "preemptionPolicy",
    "setHostnameAsFQDN",
    "hostUsers",
    "os",
    "schedulingGates",
    "resources",
    "hostnameOverride",
)
FORBIDDEN_IN_CONTAINERS = (
    "lifecycle",
    "stdin",
    "stdinOnce",
    "tty",
    "volumeDevices",
    "resizePolicy",
    "restartPolicy",
)
POD_SECURITY = ("runAsUser", "runAsGroup", "runAsNonRoot", "fsGroup", "supplementalGroups", "seccompProfile")
CONTAINER_SECURITY = (
    "capabilities",
    "readOnlyRootFilesystem",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "allowPrivilegeEscalation",
    "seccompProfile",
    "privileged",
)
PORT_NAMES = ("", "http1", "h2c")
RESERVED_PORTS = (8008, 8012, 8013, 8022, 9090, 9091)
RESERVED_PATHS = ("/", "/dev", "/dev/log")
RESERVED_VARIABLES = ("PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION")
WRITABLE = ("emptyDir", "persistentVolumeClaim", "ephemeral")
_STANDARD = "Standard mode allows it"


def forbidden_fields(component: ServiceComponent) -> Violations:
    """No field that Knative sets itself or refuses."""
    for field in FORBIDDEN:
        if field in component.spec:
            yield f"remove {field}: Knative refuses it ({_STANDARD})"
    for field in mapping(component.spec, "securityContext"):
        if field not in POD_SECURITY:
            yield f"remove securityContext.{field}: Knative refuses it ({_STANDARD})"
    for container in component.pod.all_containers:
        for field in FORBIDDEN_IN_CONTAINERS:
            if field in container:
                yield f"remove {field} from {container.get('name')}: Knative refuses it ({_STANDARD})"


def container_security(component: ServiceComponent) -> Violations:
    """A container's securityContext has only fields that Knative accepts, no privileges and no negative ids."""
    for container in component.pod.all_containers:
        context = mapping(container, "securityContext")
        for field in context:
            if field not in CONTAINER_SECURITY:
                yield f"remove securityContext.{field} from {container.get('name')}: Knative refuses it"
        if context.get("privileged"):
            yield f"{container.get('name')} must not be privileged: Knative takes false only"
        yield from _negative(context, str(container.get("name")))
    yield from _negative(mapping(component.spec, "securityContext"), "the pod")


def token_mount(component: ServiceComponent) -> Violations:
    """``automountServiceAccountToken`` is false or not set."""
    if component.spec.get("automountServiceAccountToken") is True:
        yield "automountServiceAccountToken must be false or left away: Knative refuses true"


def resource_claims(component: ServiceComponent) -> Violations:
    """No dynamic resource allocation: Knative supports device plugins only."""
    for container in component.pod.all_containers:
        if "claims" in mapping(container, "resources"):
            yield f"remove resources.claims from {container.get('name')}: Knative knows device plugins only"


def one_port(component: ServiceComponent) -> Violations:
    """At most one port over all containers, with a valid name and a number that Knative does not use."""
    ports = [port for container in component.pod.containers for port in objects(container, "ports")]
    if len(ports) > 1:
        yield "a pod may have one port: leave the second away, or use Standard mode for REST and gRPC together"
    for port in ports:
        if str(port.get("name", "")) not in PORT_NAMES:
            yield "the port must be named http1 or h2c, or have no name"
        if port.get("containerPort") in RESERVED_PORTS:
            yield f"the port {port.get('containerPort')} is Knative's own: choose another"
        if port.get("protocol", "TCP") != "TCP" or "hostPort" in port or "hostIP" in port:
            yield "the port must be TCP, without hostPort and hostIP"


def mounts(component: ServiceComponent) -> Violations:
    """Volume mounts have valid paths and modes."""
    volumes = component.pod.volumes
    for container in component.pod.all_containers:
        seen: set[str] = set()
        for mount in objects(container, "volumeMounts"):
            where = f"{container.get('name')}: the mount of {mount.get('name')}"
            path = posixpath.normpath(str(mount.get("mountPath", "")))
            if path in RESERVED_PATHS:
                yield f"{where} must not be at {path}, which is reserved"
            if path in seen:
                yield f"{where} is at {path}, where another is"
            seen.add(path)
            if "subPathExpr" in mount:
                yield f"{where} must use subPath: Knative knows no subPathExpr"
            yield from _mounted_as_allowed(where, mount, volumes.get(str(mount.get("name"))))


def unmounted_volumes(component: ServiceComponent) -> Violations:
    """Every volume is mounted."""
    used = {str(m.get("name")) for c in component.pod.all_containers for m in objects(c, "volumeMounts")}
    for name in component.pod.volumes:
        if name not in used:
            yield f"mount the volume {name} or remove it: Knative refuses volumes that nothing mounts"


def reserved_variables(component: ServiceComponent) -> Violations:
    """No variable that Knative sets."""
    for container in component.pod.all_containers:
        for entry in objects(container, "env"):
            if entry.get("name") in RESERVED_VARIABLES:
                yield f"{container.get('name')} must not set {entry.get('name')}: Knative does"


def probes(component: ServiceComponent) -> Violations:
    """Probes stay valid after Knative rewrites them."""
    for container in component.pod.init_containers:
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            if probe in container:
                yield f"remove the {probe} of {container.get('name')}: an init container has none"
    for container in component.pod.containers:
        ready = mapping(container, "readinessProbe")
        if ready and not ready.get("periodSeconds"):
            for field in ("failureThreshold", "timeoutSeconds"):
                if ready.get(field):
                    yield (
                        f"give the readinessProbe of {container.get('name')} a periodSeconds, or remove "
                        f"{field}: without a period Knative probes in its own way"
                    )
        yield from _liveness_port(container)


def spread(component: ServiceComponent) -> Violations:
    """A pod with an affinity has topologySpreadConstraints: any affinity replaces Knative's default spreading."""
    if not component.spec.get("affinity"):
        return
    apart = mapping(component.spec, "affinity", "podAntiAffinity")
    if not apart and not objects(component.spec, "topologySpreadConstraints"):
        yield (
            "add topologySpreadConstraints: with any affinity Knative leaves its own away, and replicas may all "
            "land on one node"
        )


def _negative(context: Mapping[str, Any], where: str) -> Violations:
    for field in ("runAsUser", "runAsGroup"):
        value = context.get(field, 0)
        if isinstance(value, int) and value < 0:
            yield f"{field} of {where} must not be negative"


def _mounted_as_allowed(where: str, mount: Mapping[str, Any], volume: Mapping[str, Any] | None) -> Violations:
    if volume is None:
        yield f"{where} names no volume of the pod"
    elif not any(kind in volume for kind in WRITABLE):
        if mount.get("readOnly") is not True:
            yield f"{where} must have readOnly: true: Knative asks for it with this kind of volume"
    elif mapping(volume, "persistentVolumeClaim").get("readOnly") and mount.get("readOnly") is not True:
        yield f"{where} must have readOnly: true, as its volume has"


def _liveness_port(container: Mapping[str, Any]) -> Iterator[str]:
    ports = objects(container, "ports")
    served = ports[0].get("containerPort", 8080) if ports else 8080
    name = str(ports[0].get("name", "")) if ports else ""
    live = mapping(container, "livenessProbe")
    for kind in ("httpGet", "tcpSocket"):
        port = mapping(live, kind).get("port", served)
        if port not in (served, 0, name):
            yield (
                f"the livenessProbe of {container.get('name')} must use port {served}: Knative rewrites it to that "
                "port, unless multi-container-probing is enabled"
            )
    if "httpGet" in live and name == "h2c":
        yield f"the livenessProbe of {container.get('name')} must not be httpGet: its port speaks HTTP/2 (h2c)"


_RULES: dict[str, ComponentRule] = {
    "knative-forbidden-field": forbidden_fields,
    "knative-container-security": container_security,
    "knative-token-mount": token_mount,
    "knative-resource-claim": resource_claims,
    "knative-port": one_port,
    "knative-mount": mounts,
    "knative-unmounted-volume": unmounted_volumes,
    "knative-reserved-variable": reserved_variables,
    "knative-probe": probes,
    "knative-spread": spread,
}


def _in_knative_mode(rule: ComponentRule) -> ComponentRule:
    def in_knative_mode(component: ServiceComponent) -> Violations:
        if component.service.mode == KNATIVE:
            yield from rule(component)

    return in_knative_mode


COMPONENTS: dict[str, ComponentRule] = {name: _in_knative_mode(rule) for name, rule in _RULES.items()}
