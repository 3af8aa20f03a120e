"""Checks before applying: storage, Secrets, images, DNS and quotas of the namespace."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from inferenceservices.doctor.diagnosis import Check, Diagnoses, Diagnosis
from inferenceservices.doctor.snapshot import ClusterSnapshot, labels_of, name_of
from inferenceservices.selectors import selects
from protocol.kubernetes.documents import Document, kind_and_name, mapping, objects, strings
from protocol.kubernetes.inference_service import ServiceComponent, pod_templates
from protocol.kubernetes.pods import requests
from protocol.kubernetes.quantities import quantity_or_zero

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
ONE_NODE_PROVISIONERS = (
    "ebs.csi.aws.com", "pd.csi.storage.gke.io", "disk.csi.azure.com", "cinder.csi.openstack.org",
    "csi.hetzner.cloud", "dobs.csi.digitalocean.com", "rancher.io/local-path", "topolvm.io",
    "kubernetes.io/aws-ebs", "kubernetes.io/gce-pd", "kubernetes.io/azure-disk", "k8s.io/minikube-hostpath",
)  # fmt: skip
"""Provisioners of disks, which one node mounts at a time."""
PLACEHOLDER = "registry.example.com/"


def missing_class(snapshot: ClusterSnapshot) -> Diagnoses:
    """A claim whose storage class is not there, or that names none where there is no default."""
    for claim in _claims(snapshot):
        if (
            _class_of(snapshot, claim) is None
            and not _existing(snapshot, claim)
            and not _volume(snapshot, claim)
        ):
            named = mapping(claim, "spec").get("storageClassName")
            names = ", ".join(map(name_of, snapshot.of("storageclasses"))) or "none"
            yield Diagnosis(
                kind_and_name(claim),
                f"there is no storage class {named}"
                if named
                else "it names no storage class, and none is default",
                f"storage classes: {names}",
                "set storageClassName in the overlay to one of `kubectl get storageclass`",
            )


def one_node_storage(snapshot: ClusterSnapshot) -> Diagnoses:
    """A claim for all nodes, of a class that makes disks for one."""
    for claim in _claims(snapshot):
        found = _class_of(snapshot, claim)
        provisioner = str((found or {}).get("provisioner", ""))
        if found and _is_shared(claim) and provisioner in ONE_NODE_PROVISIONERS:
            yield Diagnosis(
                kind_and_name(claim),
                "it asks for ReadWriteMany, and its class makes disks that one node mounts",
                f"StorageClass {name_of(found)} has the provisioner {provisioner}",
                "set storageClassName to a class of a shared file system (`kubectl get storageclass`), or use the "
                "component storage-rwo",
            )


def unbound_claim(snapshot: ClusterSnapshot) -> Diagnoses:
    """A claim that is there, and has no volume although nothing is waited for."""
    for claim in _claims(snapshot):
        existing = _existing(snapshot, claim) or {}
        phase = mapping(existing, "status").get("phase")
        waits = (_class_of(snapshot, existing) or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
        if phase == "Lost" or (phase == "Pending" and not waits):
            yield Diagnosis(
                kind_and_name(claim),
                "it has no volume",
                f"its phase is {phase}",
                snapshot.fix(f"describe persistentvolumeclaim {name_of(claim)}"),
            )


def changed_claim(snapshot: ClusterSnapshot) -> Diagnoses:
    """A claim whose class or access modes cannot be changed any more."""
    for claim in _claims(snapshot):
        existing = _existing(snapshot, claim)
        if not existing:
            continue
        for field in ("storageClassName", "accessModes"):
            wanted, there = mapping(claim, "spec").get(field), mapping(existing, "spec").get(field)
            if wanted is not None and wanted != there:
                yield Diagnosis(
                    kind_and_name(claim),
                    f"it exists with another {field}, which is immutable: applying will be refused",
                    f"{there}, and the overlay says {wanted}",
                    f"put {field}: {there} into the overlay, or move the releases and run "
                    + snapshot.fix(f"delete persistentvolumeclaim {name_of(claim)}"),
                )


def missing_pull_secret(snapshot: ClusterSnapshot) -> Diagnoses:
    """A Secret for pulling images that is not there."""
    holders = [d for d in snapshot.manifests if d.get("kind") == "ServiceAccount"]
    wanted = [
        (kind_and_name(d), entry.get("name")) for d in holders for entry in objects(d, "imagePullSecrets")
    ]
    for pod in pod_templates(snapshot.manifests):
        wanted += [(pod.location, entry.get("name")) for entry in objects(pod.spec, "imagePullSecrets")]
    for subject, name in wanted:
        if not _has_secret(snapshot, str(name)):
            yield Diagnosis(
                subject,
                f"images are pulled with the Secret {name}, which is not there",
                f"namespace {snapshot.namespace} has no Secret {name}",
                snapshot.fix(f"create secret docker-registry {name} --docker-server=REGISTRY --docker-username=USER "
                             "--docker-password=PASSWORD"),
            )  # fmt: skip


def missing_secret(snapshot: ClusterSnapshot) -> Diagnoses:
    """A Secret that a pod cannot start without."""
    for pod in pod_templates(snapshot.manifests):
        for name in sorted(set(_secrets(pod.spec))):
            if not _has_secret(snapshot, name):
                yield Diagnosis(
                    pod.location,
                    f"its pods do not start without the Secret {name}",
                    f"namespace {snapshot.namespace} has no Secret {name}",
                    snapshot.fix(f"create secret generic {name} ...")
                    + " with the keys in docs/guides/manifests.md, Installing",
                )


def placeholder_image(snapshot: ClusterSnapshot) -> Diagnoses:
    """An image of the registry that stands in the base as an example."""
    for pod in pod_templates(snapshot.manifests):
        for container in pod.all_containers:
            image = str(container.get("image", ""))
            if image.startswith(PLACEHOLDER):
                yield Diagnosis(
                    pod.location,
                    "its image is of the example registry, which does not exist",
                    f"container {container.get('name')}: {image}",
                    "set registry and tag in values/values.yaml of the overlay",
                )


def blocked_dns(snapshot: ClusterSnapshot) -> Diagnoses:
    """A network policy that lets pods ask DNS servers that are not the cluster's."""
    policy = next((d for d in snapshot.manifests if _is_dns_policy(d)), None)
    servers = snapshot.of("dns-pods")
    if policy is None:
        return
    local = next((pod for pod in servers if labels_of(pod).get("k8s-app") == "node-local-dns"), None)
    allowed = [
        mapping(to, "podSelector") for rule in objects(policy, "spec", "egress") for to in objects(rule, "to")
    ]
    addresses = any(
        "ipBlock" in to for rule in objects(policy, "spec", "egress") for to in objects(rule, "to")
    )
    matched = any(selects(selector, labels_of(pod)) for selector in allowed for pod in servers)
    if (local and not addresses) or not (matched or addresses):
        names = ", ".join(map(name_of, servers)) or "no pod with the label k8s-app=kube-dns"
        yield Diagnosis(
            kind_and_name(policy),
            "pods cannot look up names: DNS is answered by a cache on the node, not by the pods that are allowed"
            if local
            else "pods cannot look up names: no DNS server has the labels that are allowed",
            f"in kube-system: {names}",
            "allow port 53 to the addresses of the DNS servers in the overlay's NetworkPolicy dns (ipBlock; "
            "169.254.20.10/32 for NodeLocal DNSCache), and see kubectl -n kube-system get service,pod --show-labels",
        )


def small_quota(snapshot: ClusterSnapshot) -> Diagnoses:
    """A quota on CPU or memory that leaves less than the first pods request."""
    for resource in ("cpu", "memory"):
        needed = sum((_needed(component, resource) for component in snapshot.components), Decimal())
        for quota in snapshot.of("resourcequotas"):
            hard = mapping(quota, "spec", "hard")
            key = next((k for k in (f"requests.{resource}", resource) if k in hard), "")
            used = mapping(quota, "status", "used").get(key, 0)
            if key and quantity_or_zero(hard[key]) - quantity_or_zero(used) < needed and not snapshot.service:
                yield Diagnosis(
                    kind_and_name({"kind": "ResourceQuota", **quota}),
                    f"it leaves too little {resource} for the first pods",
                    f"{key}: {used} of {hard[key]} used, {needed.normalize():f} needed",
                    snapshot.fix(f"edit resourcequota {name_of(quota)}"),
                )


def _needed(component: ServiceComponent, resource: str) -> Decimal:
    pods = component.declared.get("minReplicas", 1)
    each = sum(
        (Decimal(quantity_or_zero(requests(c).get(resource, 0))) for c in component.pod.containers), Decimal()
    )
    return each * (pods if isinstance(pods, int) else 1)


def _claims(snapshot: ClusterSnapshot) -> Iterator[Document]:
    return (d for d in snapshot.manifests if d.get("kind") == "PersistentVolumeClaim")


def _existing(snapshot: ClusterSnapshot, claim: Document) -> Document | None:
    return snapshot.named("persistentvolumeclaims", name_of(claim))


def _class_of(snapshot: ClusterSnapshot, claim: Document) -> Document | None:
    named = mapping(claim, "spec").get("storageClassName")
    if named is not None:
        return snapshot.named("storageclasses", str(named)) if named else {}
    classes = snapshot.of("storageclasses")
    return next(
        (c for c in classes if mapping(c, "metadata", "annotations").get(DEFAULT_CLASS) == "true"), None
    )


def _volume(snapshot: ClusterSnapshot, claim: Document) -> Document | None:
    """A volume that somebody made by hand and the claim can have."""
    wanted = mapping(claim, "spec")
    for volume in snapshot.of("persistentvolumes"):
        spec = mapping(volume, "spec")
        modes = set(strings(wanted.get("accessModes"))) <= set(strings(spec.get("accessModes")))
        same_class = (spec.get("storageClassName") or "") == (wanted.get("storageClassName") or "")
        if mapping(volume, "status").get("phase") == "Available" and modes and same_class:
            return volume
    return None


def _is_shared(claim: Document) -> bool:
    return "ReadWriteMany" in strings(mapping(claim, "spec").get("accessModes"))


def _has_secret(snapshot: ClusterSnapshot, name: str) -> bool:
    ours = [d for d in snapshot.manifests if d.get("kind") == "Secret"]
    return any(name_of(secret) == name for secret in (*snapshot.of("secrets"), *ours))


def _secrets(spec: Document) -> Iterator[str]:
    """Names of the Secrets that are not optional."""
    sources = [mapping(volume, "secret") for volume in objects(spec, "volumes")]
    for container in (*objects(spec, "initContainers"), *objects(spec, "containers")):
        sources += [mapping(entry, "valueFrom", "secretKeyRef") for entry in objects(container, "env")]
        sources += [mapping(entry, "secretRef") for entry in objects(container, "envFrom")]
    for source in sources:
        name = source.get("secretName") or source.get("name")
        if name and source.get("optional") is not True:
            yield str(name)


def _is_dns_policy(document: Document) -> bool:
    rules = objects(document, "spec", "egress")
    ports = [port.get("port") for rule in rules for port in objects(rule, "ports")]
    return document.get("kind") == "NetworkPolicy" and 53 in ports


CHECKS = (
    Check("storage-class", "the claim's storage class is missing, or there is no default",
          ("storageclasses", "persistentvolumes", "persistentvolumeclaims"), missing_class),
    Check("storage-one-node", "a claim for all nodes, of a class of disks", ("storageclasses",), one_node_storage),
    Check("claim-unbound", "the claim has no volume", ("persistentvolumeclaims", "storageclasses"), unbound_claim),
    Check("claim-changed", "the claim exists with another class or access mode", ("persistentvolumeclaims",),
          changed_claim),
    Check("pull-secret", "a Secret for pulling images is missing", ("secrets",), missing_pull_secret),
    Check("secret-missing", "a Secret that pods need is missing", ("secrets",), missing_secret),
    Check("image-placeholder", "an image of the example registry", (), placeholder_image),
    Check("dns-blocked", "the DNS policy does not reach the cluster's DNS", ("dns-pods",), blocked_dns),
    Check("quota-host", "a quota on CPU or memory is too small", ("resourcequotas",), small_quota),
)  # fmt: skip
