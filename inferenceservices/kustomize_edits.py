"""What kustomize does to documents: patches and replacements, as far as our kustomizations use them.

After ``PatchTransformer``, ``ReplacementTransformer`` and kyaml's field paths of kubernetes-sigs/kustomize v5.
Anything that is not known here is refused, not guessed. Documents are changed in place.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from protocol.kubernetes.documents import kind_and_name, mapping, objects, string_map

Resource: TypeAlias = dict[str, Any]
DELETE = "$patch"
_PATH = re.compile(r"\[([^\]]*)\]|((?:[^.\[\\]|\\.)+)")
_SELECTOR = frozenset({"kind", "name", "annotationSelector"})


class RenderFailed(Exception):
    """A kustomization cannot be built here; the message says why and what to do."""


def select(resources: Iterable[Resource], selector: Mapping[str, Any]) -> list[Resource]:
    """Resources of a kind whose name matches an expression and that have the annotations.

    Raises:
        RenderFailed: the selector asks for something else.
    """
    _refuse_unknown(selector, _SELECTOR, "a selector")
    pairs = [pair.partition("=") for pair in str(selector.get("annotationSelector", "")).split(",") if pair]
    return [
        resource
        for resource in resources
        if selector.get("kind") in (None, resource["kind"])
        and re.fullmatch(str(selector.get("name", ".*")), resource["metadata"]["name"])
        and all(string_map(resource, "metadata", "annotations").get(key) == value for key, _, value in pairs)
    ]


def apply_patch(resources: list[Resource], patch: object, target: Mapping[str, Any] | None) -> None:
    """Apply one patch: JSON operations, or a strategic merge patch, which names its resource itself without a target.

    Raises:
        RenderFailed: it does not fit, or is of a kind that is not known here.
    """
    if isinstance(patch, list):
        if target is None:
            raise RenderFailed("a list of JSON operations needs a target")
        for resource in select(resources, target):
            for operation in objects(patch):
                apply_operation(resource, operation)
        return
    if not isinstance(patch, Mapping):
        raise RenderFailed("a patch is a list of JSON operations, or a document")
    if target is None:
        wanted = {"kind": patch.get("kind"), "name": re.escape(str(mapping(patch, "metadata").get("name")))}
        found = select(resources, wanted)
        if not found:
            raise RenderFailed(f"there is no {kind_and_name(patch)} to patch")
    else:
        found = select(resources, target)
    for resource in found:
        if patch.get(DELETE) == "delete":
            resources.remove(resource)
        else:
            identity = {key: copy.deepcopy(resource[key]) for key in ("apiVersion", "kind")}
            name = resource["metadata"]["name"]
            _merge(resource, patch, is_custom="." in str(resource["apiVersion"]).partition("/")[0])
            resource |= identity
            resource["metadata"]["name"] = name


def _merge(target: dict[str, Any], patch: Mapping[str, Any], *, is_custom: bool) -> None:
    for key, value in patch.items():
        if key.startswith("$"):
            raise RenderFailed(f"{key} inside of a patch is not known here: run kubectl kustomize")
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            if not isinstance(target.get(key), dict):
                target[key] = {}
            _merge(target[key], value, is_custom=is_custom)
        elif isinstance(value, list) and not is_custom:
            # Lists of Kubernetes' own kinds are merged by keys that their schemas name.
            raise RenderFailed(f"the list {key} in a patch of a built-in kind: use JSON operations")
        else:
            target[key] = copy.deepcopy(value)


def apply_operation(document: Resource, operation: Mapping[str, Any]) -> None:
    """One operation of RFC 6902: add, remove, replace or test.

    Raises:
        RenderFailed: the place is not there, a test fails, or the operation is another one.
    """
    kind, path = operation.get("op"), str(operation.get("path"))
    *parts, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    place: Any = document
    try:
        for part in parts:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if kind == "add":
            _add(place, last, copy.deepcopy(operation.get("value")))
            return
        key: Any = int(last) if isinstance(place, list) else last
        present = place[key]
    except (KeyError, IndexError, ValueError, TypeError):
        raise RenderFailed(f"{kind_and_name(document)} has no {path}, which a patch is for") from None
    if kind == "test":
        if present != operation.get("value"):
            raise RenderFailed(f"{path} of {kind_and_name(document)} is not what a patch expects")
    elif kind == "remove":
        del place[key]
    elif kind == "replace":
        place[key] = copy.deepcopy(operation.get("value"))
    else:
        raise RenderFailed(f"the JSON operation {kind} is not known here: run kubectl kustomize")


def _add(place: Any, last: str, value: object) -> None:  # noqa: ANN401  a list or an object of YAML
    if isinstance(place, list):
        place.insert(len(place) if last == "-" else int(last), value)
    else:
        place[last] = value


def apply_replacement(resources: list[Resource], replacement: Mapping[str, Any]) -> None:
    """Copy the value of one field to others.

    Raises:
        RenderFailed: the source is not one field, a target is not there, or an option is not known here.
    """
    _refuse_unknown(replacement, {"source", "targets"}, "a replacement")
    source = dict(mapping(replacement, "source"))
    path = str(source.pop("fieldPath", "metadata.name"))
    values = [
        value for found in select(resources, source) for _, _, value in _fields(found, path, create=False)
    ]
    if len(values) != 1:
        raise RenderFailed(f"{path} of {source} is {len(values)} fields, and a replacement has one source")
    for target in objects(replacement, "targets"):
        _refuse_unknown(target, {"select", "fieldPaths", "options"}, "a replacement's target")
        options = mapping(target, "options")
        _refuse_unknown(options, {"create", "delimiter", "index"}, "a replacement's options")
        for resource in select(resources, mapping(target, "select")):
            for field_path in target["fieldPaths"]:
                found = list(_fields(resource, field_path, create=bool(options.get("create"))))
                if not found:
                    raise RenderFailed(
                        f"{kind_and_name(resource)} has no {field_path}, which a replacement is for"
                    )
                for place, key, present in found:
                    if present is None and isinstance(values[0], str) and not values[0][:1].isalpha():
                        # kustomize would read it anew, and take 3 for a number.
                        raise RenderFailed(
                            f"give {field_path} a value in the manifest: {kind_and_name(resource)} has none"
                        )
                    place[key] = _replaced(present, values[0], options)


def _replaced(present: object, value: object, options: Mapping[str, Any]) -> object:
    """The field's new value: a part of it between delimiters, or the whole with the type that it had."""
    if delimiter := options.get("delimiter"):
        parts = str(present).split(str(delimiter))
        index = int(options.get("index", 0))
        if not 0 <= index < len(parts):
            raise RenderFailed(f"a value has no part {index} between {delimiter!r}: give it one")
        parts[index] = str(value)
        return str(delimiter).join(parts)
    if isinstance(present, bool) or isinstance(value, (dict, list)) or present is None:
        return copy.deepcopy(value)
    try:
        return int(str(value)) if isinstance(present, int) else str(value)
    except ValueError:
        return str(value)


def _fields(resource: Resource, path: str, *, create: bool) -> Iterator[tuple[Any, Any, Any]]:
    """Container, key and value of each field at ``path``: keys, indices, ``*`` and ``[name=value]``."""
    parts = [bracket or key for bracket, key in _PATH.findall(path)]
    places: list[tuple[Any, Any, Any]] = [({"": resource}, "", resource)]
    for number, part in enumerate(parts):
        found = []
        for _, _, value in places:
            is_last = number == len(parts) - 1
            found += _step(value, part, None if not create else (None if is_last else {}), create=create)
        places = found
    yield from places


def _step(value: Any, part: str, missing: object, *, create: bool) -> list[tuple[Any, Any, Any]]:  # noqa: ANN401
    if isinstance(value, list):
        key, equals, wanted = part.partition("=")
        if part == "*":
            return [(value, index, entry) for index, entry in enumerate(value)]
        if equals:
            return [(value, i, e) for i, e in enumerate(value) if str(mapping(e).get(key)) == wanted]
        index = int(part) if part.isdecimal() else -1
        return [(value, index, value[index])] if 0 <= index < len(value) else []
    if not isinstance(value, dict):
        return []
    if part not in value:
        if not create:
            return []
        value[part] = missing
    return [(value, part, value[part])]


def _refuse_unknown(found: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    if unknown := sorted(set(found) - set(known)):
        raise RenderFailed(f"{what} has {unknown[0]}, which is not known here: run kubectl kustomize")
