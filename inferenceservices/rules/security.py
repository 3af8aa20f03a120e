"""Rules for security: no root, no privileges, no writable root file system, no credentials in a manifest.

The level ``restricted`` of Kubernetes' Pod Security Standards, and a read-only root file system on top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from inferenceservices.rules.findings import ManifestsRule, PodRule, Violations
from protocol.kubernetes.documents import Document, kind_and_name, mapping, objects, strings
from protocol.kubernetes.pods import PodTemplate, environment

_CREDENTIAL = re.compile(r"PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)
LOWEST_ID = 10_000
"""Lowest user or group id that is unlikely to exist on the node."""
_NO_CREDENTIAL = re.compile(r"_(FILE|PATH|NAME|TOKENS)$|TOKENS", re.IGNORECASE)
"""Names of variables that hold the path of a credential, or a number of tokens."""


def run_as_non_root(pod: PodTemplate) -> Violations:
    """Every container runs as a user that is not root, enforced by the kubelet."""
    for container in pod.all_containers:
        name = container.get("name")
        if _effective(pod, container, "runAsNonRoot") is not True:
            yield f"{name} must have securityContext.runAsNonRoot: true"
        for field in ("runAsUser", "runAsGroup"):
            number = _effective(pod, container, field)
            if not isinstance(number, int) or number < LOWEST_ID:
                yield f"{name} must have securityContext.{field} of {LOWEST_ID} or more: lower ones may be the node's"


def read_only_root(pod: PodTemplate) -> Violations:
    """The root file system of every container is read-only."""
    for container in pod.all_containers:
        if mapping(container, "securityContext").get("readOnlyRootFilesystem") is not True:
            yield f"{container.get('name')} must have securityContext.readOnlyRootFilesystem: true"


def read_only_secrets(pod: PodTemplate) -> Violations:
    """Secrets and ConfigMaps are mounted read-only."""
    for container in pod.all_containers:
        for mount in objects(container, "volumeMounts"):
            volume = pod.volumes.get(str(mount.get("name")), {})
            if ("secret" in volume or "configMap" in volume) and mount.get("readOnly") is not True:
                yield f"{container.get('name')}: the mount of {mount.get('name')} must have readOnly: true"


def privileges(pod: PodTemplate) -> Violations:
    """No privilege escalation, and no capabilities."""
    for container in pod.all_containers:
        context = mapping(container, "securityContext")
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{container.get('name')} must have securityContext.allowPrivilegeEscalation: false"
        capabilities = mapping(context, "capabilities")
        if "ALL" not in strings(capabilities.get("drop")) or capabilities.get("add"):
            yield f"{container.get('name')} must drop the capabilities [ALL] and add none"


def seccomp(pod: PodTemplate) -> Violations:
    """Every container has a seccomp profile."""
    for container in pod.all_containers:
        profile = _effective(pod, container, "seccompProfile")
        if mapping(profile).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{container.get('name')} must have securityContext.seccompProfile.type: RuntimeDefault"


def host_access(pod: PodTemplate) -> Violations:
    """No host namespaces and no hostPath volumes."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(field):
            yield f"remove {field}"
    for name, volume in pod.volumes.items():
        if "hostPath" in volume:
            yield f"volume {name} must not be a directory of the node (hostPath)"


def service_account(pod: PodTemplate) -> Violations:
    """A service account of its own, without a mounted token: no pod calls the Kubernetes API."""
    if pod.spec.get("serviceAccountName", "default") == "default":
        yield "set serviceAccountName: the namespace's default account is everybody's"
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "set automountServiceAccountToken: false"


def literal_credential(pod: PodTemplate) -> Violations:
    """No credential is a literal value of an environment variable."""
    for container in pod.all_containers:
        for name, value in environment(container).items():
            secret = _CREDENTIAL.search(name) and not _NO_CREDENTIAL.search(name)
            if value and (secret or _password_in(value)):
                yield f"{container.get('name')}: take {name} from a Secret, not from the manifest"


def secret_in_manifest(documents: tuple[Document, ...]) -> Violations:
    """No manifest contains the data of a Secret."""
    for document in documents:
        if document.get("kind") == "Secret" and (document.get("data") or document.get("stringData")):
            yield f"{kind_and_name(document)} must not be in a manifest: make it with kubectl create secret"


def _effective(pod: PodTemplate, container: Mapping[str, Any], field: str) -> object:
    own = mapping(container, "securityContext").get(field)
    return own if own is not None else mapping(pod.spec, "securityContext").get(field)


def _password_in(value: str) -> bool:
    try:
        return bool(urlsplit(value).password)
    except ValueError:
        return False


PODS: dict[str, PodRule] = {
    "run-as-non-root": run_as_non_root,
    "read-only-root": read_only_root,
    "read-only-secrets": read_only_secrets,
    "privileges": privileges,
    "seccomp": seccomp,
    "host-access": host_access,
    "service-account": service_account,
    "literal-credential": literal_credential,
}
MANIFESTS: dict[str, ManifestsRule] = {"secret-in-manifest": secret_in_manifest}
