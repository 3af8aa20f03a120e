"""Builds our kustomizations without kustomize: the same documents, in the same order.

As ``KustTarget.accumulateTarget`` of kubernetes-sigs/kustomize v5 does it: resources, generated ConfigMaps,
components (which see all of that and change it), patches, replacements; at the end names with digests, and kubectl's
order of kinds. Only what our own kustomizations use is known; anything else is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from inferenceservices.kustomize_edits import RenderFailed, Resource, apply_patch, apply_replacement
from protocol.kubernetes.documents import YAML_LOADER, load_manifests, mapping, objects, string_map, strings

LOCAL = "config.kubernetes.io/local-config"
_KNOWN = frozenset(
    {"apiVersion", "kind", "resources", "components", "configMapGenerator", "patches", "replacements"}
)
_FIRST = (
    "Namespace", "ResourceQuota", "StorageClass", "CustomResourceDefinition", "ServiceAccount", "PodSecurityPolicy",
    "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ConfigMap", "Secret", "Endpoints", "Service",
    "LimitRange", "PriorityClass", "PersistentVolume", "PersistentVolumeClaim", "Deployment", "StatefulSet",
    "CronJob", "PodDisruptionBudget",
)  # fmt: skip
"""Kinds that others may need, of ``SortOrderTransformer.go``; the rest follows by group, version and kind."""
_DIGITS = str.maketrans("013ae", "ghkmt")
"""Digits that kustomize's digests leave out, lest they spell words."""

Edit = Callable[[list[Resource]], None]


def build_kustomization(directory: Path, before_replacing: Edit = lambda resources: None) -> list[Resource]:
    """The documents of the kustomization in ``directory``.

    Args:
        directory: with a ``kustomization.yaml``.
        before_replacing: may change documents each time before values are copied from one to another.

    Raises:
        RenderFailed: there is none, or it uses what is not known here.
    """
    resources: list[Resource] = []
    generated: set[str] = set()
    _accumulate(directory, resources, generated, before_replacing)
    _name_by_digest(resources, generated)
    shown = [r for r in resources if string_map(r, "metadata", "annotations").get(LOCAL) != "true"]
    return sorted(shown, key=_order)


def _accumulate(directory: Path, resources: list[Resource], generated: set[str], before: Edit) -> None:
    """Add what the kustomization in ``directory`` has to ``resources``, and change them as it says."""
    file = directory / "kustomization.yaml"
    document = mapping(_read(file))
    if unknown := sorted(set(document) - _KNOWN):
        raise RenderFailed(
            f"{file} has {unknown[0]}, which is not known here: run kubectl kustomize {directory}"
        )
    for name in strings(document.get("resources")):
        path = directory / name
        if path.is_dir():
            # It is whole by itself before others see it.
            inner: list[Resource] = []
            _accumulate(path, inner, generated, before)
            resources += inner
        else:
            resources += _documents(path)
    for generator in objects(document, "configMapGenerator"):
        resources.append(_config_map(directory, generator))
        generated.add(str(generator["name"]))
    for name in strings(document.get("components")):
        _accumulate(directory / name, resources, generated, before)
    for patch in objects(document, "patches"):
        _patch(directory, resources, patch)
    replacements = list(_replacements(directory, document))
    if replacements:
        before(resources)
    for replacement in replacements:
        apply_replacement(resources, replacement)


def _patch(directory: Path, resources: list[Resource], patch: Mapping[str, Any]) -> None:
    if unknown := sorted(set(patch) - {"path", "patch", "target"}):
        raise RenderFailed(f"a patch in {directory} has {unknown[0]}, which is not known here")
    target = mapping(patch, "target") if "target" in patch else None
    body = _read(directory / patch["path"]) if "path" in patch else _parsed(str(patch["patch"]), directory)
    apply_patch(resources, body, target)


def _replacements(directory: Path, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for entry in objects(document, "replacements"):
        found += objects(_read(directory / entry["path"])) if "path" in entry else [entry]
    return found


def _config_map(directory: Path, generator: Mapping[str, Any]) -> Resource:
    if unknown := sorted(set(generator) - {"name", "files"}):
        raise RenderFailed(f"a configMapGenerator in {directory} has {unknown[0]}, which is not known here")
    data = {Path(name).name: _text(directory / name) for name in strings(generator.get("files"))}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}


def _name_by_digest(resources: list[Resource], generated: set[str]) -> None:
    """Give generated ConfigMaps the digest of their contents as a part of their names, here and in volumes."""
    for resource in resources:
        name = resource["metadata"]["name"]
        if resource["kind"] == "ConfigMap" and name in generated:
            # The name is empty in kustomize's digests.
            content = {"kind": "ConfigMap", "name": "", "data": resource["data"]}
            text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            # As Go writes JSON.
            for character in "<>&":
                text = text.replace(character, f"\\u{ord(character):04x}")
            digest = hashlib.sha256(text.encode()).hexdigest()[:10].translate(_DIGITS)
            resource["metadata"]["name"] = f"{name}-{digest}"
            for other in resources:
                _rename_volumes(other, name, f"{name}-{digest}")


def _rename_volumes(value: object, old: str, new: str) -> None:
    if isinstance(value, dict):
        named = value.get("configMap")
        if isinstance(named, dict) and named.get("name") == old:
            named["name"] = new
        for entry in value.values():
            _rename_volumes(entry, old, new)
    elif isinstance(value, list):
        for entry in value:
            _rename_volumes(entry, old, new)


def _order(resource: Resource) -> tuple[int, str, str]:
    kind = str(resource["kind"])
    group, _, version = str(resource["apiVersion"]).rpartition("/")
    place = _FIRST.index(kind) if kind in _FIRST else len(_FIRST)
    namespace = str(resource["metadata"].get("namespace") or "~X")
    return place, f"{group or '~G'}_{version}_{kind}", f"{namespace}_{resource['metadata']['name']}"


def _documents(path: Path) -> list[Resource]:
    try:
        return [_without_aliases(dict(document)) for document in load_manifests(_text(path))]
    except (ValueError, yaml.YAMLError) as error:
        raise RenderFailed(f"{path}: {error}") from None


def _without_aliases(value: Any) -> Any:  # noqa: ANN401  whatever YAML holds
    """A copy in which what a YAML file wrote once and named twice is there twice: an edit changes one of them."""
    if isinstance(value, dict):
        return {key: _without_aliases(entry) for key, entry in value.items()}
    return [_without_aliases(entry) for entry in value] if isinstance(value, list) else value


def _read(path: Path) -> object:
    return _parsed(_text(path), path)


def _parsed(text: str, path: Path) -> object:
    try:
        parsed: object = yaml.load(text, Loader=YAML_LOADER)
    except yaml.YAMLError as error:
        raise RenderFailed(f"{path} is no YAML: {error}") from None
    return parsed


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RenderFailed(f"{path} cannot be read: {error.strerror}") from None
