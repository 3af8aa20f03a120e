"""Versions of what is installed: from the image's tag or the label of a Deployment."""

from __future__ import annotations

import re

from inferenceservices.doctor.snapshot import ClusterSnapshot, labels_of, name_of
from protocol.kubernetes.documents import mapping, objects

Version = tuple[int, int]
_VERSION = re.compile(r"v?(\d+)\.(\d+)")


def installed_version(snapshot: ClusterSnapshot, deployment: str) -> Version | None:
    """Major and minor version of a Deployment; None if it is not there or says no version."""
    for document in snapshot.of("deployments"):
        if name_of(document) != deployment:
            continue
        spec = mapping(document, "spec", "template", "spec")
        tags = [str(c.get("image", "")).partition("@")[0] for c in objects(spec, "containers")]
        texts = [tag.rpartition("/")[2].partition(":")[2] for tag in tags]
        for text in (*texts, labels_of(document).get("app.kubernetes.io/version", "")):
            if found := _VERSION.match(text):
                return int(found[1]), int(found[2])
    return None


def is_installed(snapshot: ClusterSnapshot, deployment: str) -> bool:
    """Whether there is such a Deployment in any namespace."""
    return any(name_of(document) == deployment for document in snapshot.of("deployments"))
