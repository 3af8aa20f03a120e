"""The images of a bundle: which ones manifests name, and a copy of them as one OCI layout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REF_NAME, CONTAINERD_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"
PULL_S = 600.0
TOOLS = ("buildah", "podman", "docker")


class BundleError(Exception):
    """A bundle cannot be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class BundledImage:
    """An image that manifests name."""

    name: str
    digest: str = ""
    """Of its manifest; empty: it is not in the bundle."""
    config: str = ""
    """Digest of its configuration."""

    def line(self) -> str:
        """Its line in images.tsv."""
        state = "included" if self.digest else "absent"
        return "\t".join((self.name, self.digest or "-", self.config or "-", state))


def images_in(documents: Iterable[object]) -> list[str]:
    """The images that Kubernetes' documents name, sorted.

    Found are fields ``image`` and ``*-image`` (Knative's sidecar), in JSON within ConfigMaps too (KServe's settings).
    """
    return sorted({name for document in documents for name in _images(document)})


def _images(part: object) -> Iterator[str]:
    if isinstance(part, list):
        for each in part:
            yield from _images(each)
    elif isinstance(part, dict):
        for key, value in part.items():
            if isinstance(value, str):
                if str(key).lower() == "image" or str(key).endswith("-image"):
                    yield from _reference(value)
                elif value.lstrip().startswith("{"):
                    yield from _images(_json(value))
            else:
                yield from _images(value)


def _reference(value: str) -> Iterator[str]:
    """The full reference, if it is one: a name without a registry is Docker Hub's."""
    if not value or " " in value or "{" in value:
        return
    host, slash, _ = value.partition("/")
    if not slash:
        yield f"docker.io/library/{value}"
    else:
        yield value if set(".:") & set(host) or host == "localhost" else f"docker.io/{value}"


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def documents_of(paths: Sequence[Path]) -> list[object]:
    """All documents of YAML files.

    Raises:
        BundleError: one cannot be read.
    """
    try:
        return [document for path in paths for document in yaml.safe_load_all(path.read_text("utf-8"))]
    except (OSError, yaml.YAMLError) as error:
        raise BundleError(f"PREREQUISITES cannot be read: {error}") from error


def find_tool(environ: Mapping[str, str]) -> str:
    """The program that has the images.

    Raises:
        BundleError: there is none.
    """
    for tool in environ.get("IMAGE_TOOL", "").split() or TOOLS:
        if shutil.which(tool) and (tool != "docker" or _works(["docker", "version"])):
            return tool
    raise BundleError(
        "found no buildah, podman or docker that works: Debian has them (apt-get install buildah)"
    )


def copy_images(names: Sequence[str], layout: Path, tool: str) -> list[BundledImage]:
    """Copy images from the tool's storage, or from where it can pull them, into one OCI layout.

    Args:
        names: full references.
        layout: directory to make.
        tool: one of :data:`TOOLS`.
    """
    layout.mkdir()
    there = [name for name in names if _is_there(tool, name) or _works([tool, "pull", name])]
    if tool == "docker":
        _save_with_docker(there, layout)
    else:
        for name in there:
            _run([tool, "push", "--quiet", name, f"oci:{layout}:{name}"])
    found = _name_all(layout, there) if there else {}
    return [found.get(name, BundledImage(name)) for name in names]


def _is_there(tool: str, name: str) -> bool:
    inspect = ["inspect", "--type", "image"] if tool == "buildah" else ["image", "inspect"]
    return _works([tool, *inspect, name])


def _save_with_docker(names: Sequence[str], layout: Path) -> None:
    if not names:
        return
    with tempfile.TemporaryDirectory(dir=layout.parent) as directory:
        archive = Path(directory) / "images.tar"
        _run(["docker", "save", "--output", str(archive), *names])
        with tarfile.open(archive) as file:
            file.extractall(layout, filter="data")
    if not (layout / "index.json").exists():
        raise BundleError("this docker saves no OCI layout: version 25 or later does")


def _name_all(layout: Path, names: Sequence[str]) -> dict[str, BundledImage]:
    """Give each image of the layout the names that all tools look for; returns the images by name."""
    path = layout / "index.json"
    index = json.loads(path.read_text())
    found = {}
    for entry in index["manifests"]:
        annotations = entry.setdefault("annotations", {})
        name = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME, "")
        if name in names:
            annotations |= {REF_NAME: name, CONTAINERD_NAME: name}
            found[name] = BundledImage(name, entry["digest"], _config_of(layout, entry["digest"]))
    path.write_text(json.dumps(index))
    return found


def _config_of(layout: Path, digest: str) -> str:
    document: dict[str, Any] = json.loads(layout.joinpath("blobs", *digest.split(":", 1)).read_text())
    return str(document.get("config", {}).get("digest", ""))


def _works(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=PULL_S, env=dict(os.environ))
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        raise BundleError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-500:]}")
