"""Strict validation, and the command that does all checks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from inferenceservices import check
from inferenceservices.combinations import combinations
from inferenceservices.rules import KnativeSettings
from inferenceservices.schemas import load_schemas, strict, validate
from tests.inferenceservices.builds import OVERLAYS, RELEASE_JOBS, crd_schemas, documents_of, require_kubectl
from tests.inferenceservices.documents import edit, knative_documents

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  names: {kind: Thing}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {a: {type: string}}}
              labels: {type: object, additionalProperties: {type: string}}
              parts: {type: array, items: {type: object, properties: {name: {type: string}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config-thing}
data:
  _example: |
    # What it is.
    some-key: "1"
    # other.key: "2"
"""


def _thing(**spec: object) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}


@pytest.mark.parametrize(
    ("thing", "wrong"),
    [
        (_thing(size=1), ""),
        (_thing(size="1Gi"), ""),
        (_thing(size=1, free={"a": "b", "c": 1}, labels={"a": "b"}, parts=[{"name": "a"}]), ""),
        (_thing(), "required"),
        (_thing(size=[1]), "not valid"),
        (_thing(size=1, sise=2), "'sise' was unexpected"),
        (_thing(size=1, labels={"a": 1}), "not of type"),
        (_thing(size=1, parts=[{"nam": "a"}]), "'nam' was unexpected"),
        ({**_thing(size=1), "spek": {}}, "'spek' was unexpected"),
    ],
)
def test_unknown_fields_of_a_custom_resource_are_findings(
    tmp_path: Path, thing: dict[str, Any], wrong: str
) -> None:
    (tmp_path / "crd.yaml").write_text(CRD)
    schemas = load_schemas(tmp_path)
    findings, unknown = validate([thing], schemas)
    assert unknown == set()
    assert bool(findings) == bool(wrong)
    assert all(wrong in finding.message and finding.rule == "schema" for finding in findings)


def test_undocumented_keys_of_a_config_map_are_findings(tmp_path: Path) -> None:
    (tmp_path / "crd.yaml").write_text(CRD)
    schemas = load_schemas(tmp_path)
    assert schemas.settings == {"config-thing": frozenset({"some-key", "other.key"})}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-thing"},
        "data": {"some-key": "2"},
    }
    assert check.check_knative_config((config,), schemas).findings == ()
    config["data"] = {"some-kee": "2"}
    (finding,) = check.check_knative_config((config,), schemas).findings
    assert "some-kee" in finding.message


def test_a_schema_is_not_changed_by_making_it_strict() -> None:
    (definition, _) = yaml.safe_load_all(CRD)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    before = yaml.safe_dump(schema)
    assert strict(schema) != schema
    assert yaml.safe_dump(schema) == before


@pytest.mark.parametrize(
    ("path", "value", "wrong"),
    [
        ("InferenceService|spec|predictor|tolerationz", [], "tolerationz"),
        ("InferenceService|spec|predictor|minReplicas", "two", "minReplicas"),
        ("InferenceService|spec|predictor|containers|0|readinessProbe|httpGet|prt", 8080, "prt"),
        ("NetworkPolicy|spec|policyType", [], "policyType"),
        ("PodDisruptionBudget|spec|selector|matchLabel", {}, "matchLabel"),
        ("PersistentVolumeClaim|spec|resources|request", {}, "request"),
    ],
)
def test_a_mistyped_field_in_manifests_of_ours(path: str, value: object, wrong: str) -> None:
    documents = knative_documents()
    assert validate(documents, crd_schemas()) == ([], set())
    edit(documents, path, value)
    findings, _ = validate(documents, crd_schemas())
    assert findings
    assert any(wrong in finding.message for finding in findings)


def test_unknown_fields_of_the_generated_knative_service_are_findings() -> None:
    documents = documents_of("overlays/laptop")
    edit(documents, "InferenceService|spec|predictor|hostUsers", False)
    schemas = crd_schemas()
    report = check.check_build("a", tuple(documents), KnativeSettings(longest_timeout_s=660), schemas)
    where = {finding.where for finding in report.findings if finding.rule == "schema"}
    assert where == {"Service/yiwen-predictor"}


def test_kinds_without_a_schema_are_named() -> None:
    thing = {"apiVersion": "unheard.of/v1", "kind": "Thing", "metadata": {"name": "a"}}
    findings, unknown = validate([thing], crd_schemas())
    assert (findings, unknown) == ([], {("unheard.of/v1", "Thing")})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_overlay_and_every_combination_of_components_passes_all_checks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    require_kubectl()
    crd_schemas()
    code = check.main([], os.environ)
    out = capsys.readouterr().out
    assert code == 0, out
    assert "ok     34 overlays/production" in out
    assert out.count("\nok ") == 1 + len(OVERLAYS) + len(RELEASE_JOBS) + len(list(combinations()))
    assert "no schema of PodMonitor" in out


def test_the_command_names_the_builds_that_fail(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    require_kubectl()
    (tmp_path / "crd.yaml").write_text(CRD)
    # This directory has no schema of Knative's ConfigMaps, so that their keys are unknown.
    assert check.main(["overlays/laptop"], {"CRD_SCHEMAS": str(tmp_path)}) == 1
    assert "no key" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["overlays/none"], {}, "no such build"),
        ([], {"CRD_SCHEMAS": "/nowhere"}, "CRD_SCHEMAS names no directory"),
        ([], {"CI": "1"}, "CI checks schemas too: set CRD_SCHEMAS"),
    ],
)
def test_errors_of_the_command(
    capsys: pytest.CaptureFixture[str], arguments: list[str], environ: dict[str, str], message: str
) -> None:
    require_kubectl()
    assert check.main(arguments, environ) == 2
    assert message in capsys.readouterr().err


def test_without_kubectl_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check.main([], {}) == 2
    assert "there is no kubectl on the PATH" in capsys.readouterr().err
