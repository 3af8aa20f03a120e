"""The manifests of an overlay as YAML, with other values if need be, without kustomize.

The YAML holds the same documents in the same order as that of ``kubectl kustomize``, and usually the same bytes: how
strings are quoted and long lines folded may differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from inferenceservices.kustomization import build_kustomization
from inferenceservices.kustomize_edits import RenderFailed, Resource

OVERLAYS = Path(__file__).resolve().parent / "overlays"
VALUES = "values"
"""Name of the ConfigMap that holds the values (base/values.yaml)."""
_NUMBER = re.compile(r"[-+]?(0[xob])?[0-9a-fA-F_.:]*[0-9][0-9a-fA-F_.:]*([eE][-+]?[0-9]+)?|[yYnN]")
"""Strings that some YAML reader may take for a number, a time or a truth value, and PyYAML does not."""
_TEXT = "tag:yaml.org,2002:str"
_TEXTS = (_TEXT, "tag:yaml.org,2002:yaml")
"""Tags of plain scalars that are read as strings; the second is that of indicators, which PyYAML quotes itself."""


def find_overlay(name: str) -> Path:
    """The directory of an overlay: a path, or the name of one of ours.

    Raises:
        RenderFailed: there is neither.
    """
    for directory in (Path(name), OVERLAYS / name):
        if (directory / "kustomization.yaml").is_file():
            return directory
    ours = sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))
    raise RenderFailed(
        f"{name} is no directory with a kustomization.yaml: name one, or an overlay of this checkout "
        f"({', '.join(ours) or 'none is here: run in a checkout'})"
    )


def render(directory: Path, values: Mapping[str, str] | None = None) -> str:
    """The manifests of the kustomization in ``directory`` as YAML.

    Args:
        directory: with a ``kustomization.yaml``.
        values: in the place of those that the overlay sets, by key of the ConfigMap ``values``.

    Raises:
        RenderFailed: it cannot be built here, or has no place for ``values``.
    """
    others = values or {}
    places = 0

    def set_values(resources: list[Resource]) -> None:
        nonlocal places
        for resource in resources:
            if resource["kind"] == "ConfigMap" and resource["metadata"]["name"] == VALUES:
                if unknown := sorted(set(others) - set(resource["data"])):
                    known = ", ".join(sorted(resource["data"]))
                    raise RenderFailed(f"there is no value {unknown[0]}: set one of {known}")
                resource["data"] |= others
                places += 1

    documents = build_kustomization(directory, set_values)
    if others and not places:
        raise RenderFailed(f"{directory} has no ConfigMap {VALUES}, which holds what --set changes")
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, allow_unicode=True))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML is untyped
    """Lists of lines as blocks, and quotes around whatever some reader may take for a number."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    resolved = dumper.resolve(yaml.ScalarNode, text, (True, False))
    is_plain = resolved in _TEXTS and not _NUMBER.fullmatch(text)
    return dumper.represent_scalar(_TEXT, text, style="|" if "\n" in text else None if is_plain else '"')


_Dumper.add_representer(str, _represent_text)
