"""Kubernetes objects read from YAML, and accessors for objects whose shape is not to be trusted.

A manifest may be wrong in any way, so an accessor returns an empty value where a field is missing or of another type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import yaml

Document: TypeAlias = Mapping[str, Any]

YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader where PyYAML was built with it: ten times as fast."""


class DocumentError(ValueError):
    """A text is not a YAML stream of Kubernetes objects; the message says where and why."""


def load_documents(text: str) -> tuple[Document, ...]:
    """The objects of a YAML stream, with the items of a ``List`` in its place; anything else is skipped.

    Raises:
        DocumentError: the text is not YAML.
    """
    found: list[Document] = []
    for document in _parse(text):
        found += (
            objects(document, "items") if mapping(document).get("kind") == "List" else objects([document])
        )
    return tuple(found)


def load_manifests(text: str) -> tuple[Document, ...]:
    """The manifests of a YAML stream, in order; empty documents are skipped.

    Raises:
        DocumentError: the text is not YAML, or a document lacks apiVersion, kind or metadata.name.
    """
    documents = []
    for number, document in enumerate(_parse(text), 1):
        if document is None:
            continue
        if not isinstance(document, dict) or not document.get("apiVersion") or not document.get("kind"):
            raise DocumentError(f"document {number} is no manifest: it needs apiVersion and kind")
        if not mapping(document, "metadata").get("name"):
            raise DocumentError(
                f"document {number} ({document['kind']}) is no manifest: it needs metadata.name"
            )
        documents.append(document)
    return tuple(documents)


def mapping(value: object, *path: str) -> Mapping[str, Any]:
    """The object at ``path``, or an empty one."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def objects(value: object, *path: str) -> tuple[Mapping[str, Any], ...]:
    """The objects in the list at ``path``, or none."""
    found = mapping(value, *path[:-1]).get(path[-1]) if path else value
    if not isinstance(found, Sequence) or isinstance(found, str):
        return ()
    return tuple(entry for entry in found if isinstance(entry, Mapping))


def string_map(value: object, *path: str) -> dict[str, str]:
    """The object at ``path`` with its values as strings, such as labels and annotations."""
    return {str(key): str(entry) for key, entry in mapping(value, *path).items()}


def strings(value: object) -> tuple[str, ...]:
    """The entries of a list as strings, or none."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return tuple(str(entry) for entry in value)


def kind_and_name(document: Document) -> str:
    """The object as ``Kind/name``, for messages."""
    return f"{document.get('kind')}/{mapping(document, 'metadata').get('name')}"


def _parse(text: str) -> Iterator[object]:
    try:
        yield from yaml.load_all(text, Loader=YAML_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = ""
        if mark is not None:  # libyaml places an unexpected end one line after the last
            where = f" at line {min(mark.line + 1, len(text.splitlines()))}, column {mark.column + 1}"
        raise DocumentError(f"this is not YAML{where}; check the indentation and the quotes there") from None
