"""Strict validation against schemas: a field that a kind does not have is an error (the API server only drops it).

The schemas of KServe's and Knative's kinds come from their CustomResourceDefinitions, in a directory that the caller
names; those of Kubernetes' own kinds from the package kubernetes-validate. The only module that imports jsonschema
and kubernetes-validate, which belong to the extra ``dev``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import kubernetes_validate
import yaml
from jsonschema.exceptions import best_match
from referencing import Registry, Resource

from inferenceservices.rules.findings import Finding
from protocol.kubernetes.documents import YAML_LOADER, Document, kind_and_name, mapping, objects

Kind: TypeAlias = tuple[str, str]
"""apiVersion and kind."""

KUBERNETES = "1.33"
"""The Kubernetes release whose schemas its own kinds are checked against."""
RULE = "schema"
_UNKNOWN_FIELDS = "x-kubernetes-preserve-unknown-fields"
_EXAMPLE_KEY = re.compile(r"^\s*#?\s*([a-z][a-z0-9.-]+): ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Schemas:
    """Schemas of custom resources, and the known keys of Knative's ConfigMaps."""

    validators: Mapping[Kind, jsonschema.Draft4Validator]
    settings: Mapping[str, frozenset[str]]
    """Keys that each ConfigMap's ``_example`` documents, by the ConfigMap's name."""
    checked: dict[str, tuple[Finding, ...]] = field(default_factory=dict, compare=False, repr=False)
    """Findings in manifests that were validated, by their JSON: builds share most of theirs."""


def load_schemas(directory: Path) -> Schemas:
    """Read every CustomResourceDefinition and every ConfigMap with an ``_example`` below ``directory``.

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError: a file is no YAML.
    """
    validators: dict[Kind, jsonschema.Draft4Validator] = {}
    settings: dict[str, frozenset[str]] = {}
    for path in sorted(directory.glob("*.yaml")):
        for document in _documents(path):
            example = mapping(document, "data").get("_example")
            if document.get("kind") == "CustomResourceDefinition":
                validators |= _validators(document)
            elif isinstance(example, str):
                name = str(mapping(document, "metadata").get("name"))
                settings[name] = frozenset(_EXAMPLE_KEY.findall(example))
    return Schemas(validators, settings)


def validate(documents: Iterable[Document], schemas: Schemas) -> tuple[list[Finding], set[Kind]]:
    """Findings in ``documents``, and the kinds without a schema, which are not validated."""
    findings: list[Finding] = []
    unknown: set[Kind] = set()
    for document in documents:
        kind = (str(document.get("apiVersion")), str(document.get("kind")))
        if kind not in schemas.validators and _builtin_validator(kind) is None:
            unknown.add(kind)
            continue
        text = json.dumps(document, default=str)
        if text not in schemas.checked:
            schemas.checked[text] = tuple(_findings(document, kind, schemas))
        findings += schemas.checked[text]
    return findings, unknown


def _findings(document: Document, kind: Kind, schemas: Schemas) -> Iterator[Finding]:
    """Findings in one manifest of a known kind."""
    if (validator := schemas.validators.get(kind)) is not None:
        errors = sorted(validator.iter_errors(document), key=lambda error: list(map(str, error.path)))
        yield from (_finding(document, error) for error in errors)
    elif (builtin := _builtin_validator(kind)) and (error := best_match(builtin.iter_errors(document))):
        yield _finding(document, error)


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a CustomResourceDefinition's schema that refuses fields which it does not name."""
    result: dict[str, Any] = dict(schema)
    if "properties" in schema:
        result["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        if not schema.get(_UNKNOWN_FIELDS) and "additionalProperties" not in schema:
            result["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            result[key] = strict(schema[key])
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return result


@functools.cache
def _builtin_validator(kind: Kind) -> jsonschema.Draft202012Validator | None:
    """Validator of one of Kubernetes' own kinds; None where it has no such kind.

    ``kubernetes_validate.validate`` reads the schemas, 1.5 MB, anew for every document.
    """
    api_version, name = kind
    # rbac.authorization.k8s.io/v1 is called rbac-v1.
    version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    path = _builtin_schemas() / f"{name.lower()}-{version}.json"
    if not path.is_file():
        return None
    return jsonschema.Draft202012Validator(json.loads(path.read_bytes()), registry=_builtin_definitions())


@functools.cache
def _builtin_definitions() -> Registry[Any]:
    definitions = json.loads((_builtin_schemas() / "_definitions.json").read_bytes())
    return (Resource.from_contents(definitions) @ Registry[Any]()).crawl()


def _builtin_schemas() -> Path:
    """Directory of the strict schemas of Kubernetes ``KUBERNETES``."""
    (directory,) = Path(kubernetes_validate.__file__).parent.glob(
        f"kubernetes-json-schema/v{KUBERNETES}.*-local-strict"
    )
    return directory


def _documents(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        return [
            document for document in yaml.load_all(stream, Loader=YAML_LOADER) if isinstance(document, dict)
        ]


def _validators(definition: Document) -> dict[Kind, jsonschema.Draft4Validator]:
    spec = mapping(definition, "spec")
    kind = str(mapping(spec, "names").get("kind"))
    found = {}
    for version in objects(spec, "versions"):
        schema = strict(mapping(version, "schema", "openAPIV3Schema"))
        # Every object has these fields, whether the definition names them or not.
        schema["properties"] = {**schema.get("properties", {}), "apiVersion": {}, "kind": {}, "metadata": {}}
        found[f"{spec.get('group')}/{version.get('name')}", kind] = jsonschema.Draft4Validator(schema)
    return found


def _finding(document: Document, error: jsonschema.ValidationError) -> Finding:
    path = ".".join(str(part) for part in error.path) or "the document"
    return Finding(RULE, kind_and_name(document), f"{path}: {error.message[:300]}")
