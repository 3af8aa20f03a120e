"""What is rendered without kustomize is what kubectl prints, and what cannot be is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cli.__main__ import main
from inferenceservices.check import ROOT
from inferenceservices.combinations import Combination, write_kustomization
from inferenceservices.kustomization import build_kustomization
from inferenceservices.kustomize import BuildFailed, build
from inferenceservices.kustomize_edits import RenderFailed
from inferenceservices.render import render
from protocol.kubernetes.documents import load_manifests
from tests.inferenceservices.builds import OVERLAYS, RELEASE_JOBS, need_kustomize

BUILDS = [f"overlays/{name}" for name in OVERLAYS] + [f"release-jobs/{name}" for name in RELEASE_JOBS]
COMBINATIONS = (
    "knative full-gpu storage-rwo topology redis monitoring istio mtls verify canary values",
    "knative amd-mi300 storage-rwx redis scale-to-zero canary values",
    "standard mig-a100-3g40gb storage-rwx topology redis monitoring istio mtls verify multi-cluster values",
    "knative mig-h200-3g71gb storage-rwo values serving-runtime",
    "edge cpu storage-rwo redis monitoring verify values",
)


@pytest.mark.parametrize("name", BUILDS)
def test_it_prints_what_kubectl_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    need_kustomize()
    assert main(["render", str(ROOT / name)]) == 0
    assert capsys.readouterr().out == build(ROOT / name)


@pytest.mark.parametrize("components", COMBINATIONS)
def test_combinations_build_alike(components: str, tmp_path: Path) -> None:
    need_kustomize()
    write_kustomization(Combination(tuple(components.split())), ROOT, tmp_path)
    assert build_kustomization(tmp_path) == list(load_manifests(build(tmp_path)))


def test_values_are_set_as_an_overlay_of_ones_own_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_kustomize()
    values = {
        "release": "other",
        "slots": "48",
        "tag": "1e5",
        "registry": "localhost:5000/x",
        "deadline": "300",
    }
    copied = shutil.copytree(ROOT, tmp_path / "inferenceservices", ignore=shutil.ignore_patterns("*.py"))
    file = copied / "overlays" / "production" / "values" / "values.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    document["data"] |= values
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    options = [f"--set={key}={value}" for key, value in values.items()]
    assert main(["render", "production", *options]) == 0
    assert capsys.readouterr().out == build(copied / "overlays" / "production")


def test_another_reader_of_yaml_finds_the_same_texts(tmp_path: Path) -> None:
    """kubectl reads with Go's YAML: what PyYAML would leave plain and Go takes for a number stays a text."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: it is the other reader")
    texts = (
        "1e5", "0o17", "1_000", "+12", ".5", "0x1F", "12:30:45", "y", "No", "on", "~", "null", "", " a", "a: b",
        "a #b", "-c", "*", "&a", "50Gi", "2020-01-02", "1.5", "true", "é", "多", "a\nb\n", "a\nb", "'", '"', "1e",
        ".", "=", "<<", "0b11", "1.2.3", "NaN", ".inf", "x" * 200, "word " * 40,
    )  # fmt: skip
    data = {f"k{number}": text for number, text in enumerate(texts)}
    resource = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "t"}, "data": data}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(resource), encoding="utf-8")
    (tmp_path / "kustomization.yaml").write_text("resources: [t.yaml]\n", encoding="utf-8")
    command = ["kubectl", "label", "--local", "-o", "json", "-f", "-", "a=b"]
    done = subprocess.run(command, input=render(tmp_path), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["data"] == data


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is no directory with a kustomization.yaml"),
        (["production", "--set", "color=red"], "there is no value color: set one of deadline, namespace"),
        ([str(ROOT / "components" / "cpu"), "--set", "tag=1"], "has no ConfigMap values"),
        ([str(ROOT.parent / "knative")], "has namespace, which is not known here: run kubectl kustomize"),
    ],
)
def test_what_cannot_be_used_is_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_setting_without_a_value_is_no_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["render", "production", "--set", "tag"])
    assert "'tag' is no KEY=VALUE" in capsys.readouterr().err


SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: s, annotations: {a: b, b.c/d: e}}
spec: {predictor: {minReplicas: 1, containers: [{name: c, env: [{name: X, value: one-two}]}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {number: "3", word: x}
"""


@pytest.mark.parametrize(
    ("kustomization", "message"),
    [
        ("images: [{name: a}]", "has images, which"),
        ("resources: [absent.yaml]", "absent.yaml cannot be read"),
        ("patches: [{patch: '[{op: add, path: /a}]'}]", "needs a target"),
        ("patches: [{patch: 'text'}]", "a patch is a list of JSON operations, or a document"),
        ("patches: [{patch: '{}', options: {}}]", "has options, which"),
        (
            "patches: [{patch: '{kind: InferenceService, metadata: {name: t}}'}]",
            "no InferenceService/t to patch",
        ),
        ("patches: [{patch: '{kind: ConfigMap, metadata: {name: m}, data: [1]}'}]", "use JSON operations"),
        (
            "patches: [{patch: '{kind: ConfigMap, metadata: {name: m}, data: {$patch: replace}}'}]",
            "$patch inside of a patch is not known",
        ),
        ("patches: [{target: {kind: ConfigMap}, patch: '[{op: replace, path: /data/y}]'}]", "has no /data/y"),
        ("patches: [{target: {kind: ConfigMap}, patch: '[{op: remove, path: /a/b}]'}]", "has no /a/b"),
        (
            "patches: [{target: {kind: ConfigMap}, patch: '[{op: test, path: /data/word, value: z}]'}]",
            "not what a patch expects",
        ),
        ("patches: [{target: {kind: ConfigMap}, patch: '[{op: move, path: /data/word}]'}]", "operation move"),
        ("patches: [{target: {labelSelector: a}, patch: '[]'}]", "a selector has labelSelector"),
        ("replacements: [{source: {kind: Absent}, targets: []}]", "is 0 fields"),
        ("replacements: [{source: {kind: ConfigMap}, targets: [{reject: []}]}]", "target has reject"),
        (
            "replacements: [{source: {kind: ConfigMap, fieldPath: data.number}, targets: "
            "[{select: {name: s}, fieldPaths: [spec.a], options: {create: true}}]}]",
            "give spec.a a value in the manifest",
        ),
        ("configMapGenerator: [{name: g, literals: [a=b]}]", "has literals, which"),
    ],
)
def test_what_is_not_known_is_refused(kustomization: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SERVICE, encoding="utf-8")
    own = "" if kustomization.startswith("resources") else "resources: [s.yaml]\n"
    (tmp_path / "kustomization.yaml").write_text(own + kustomization, encoding="utf-8")
    with pytest.raises(RenderFailed) as refused:
        build_kustomization(tmp_path)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "target",
    [
        "{select: {kind: InferenceService}, fieldPaths: [spec.predictor.minReplicas]}",
        "{select: {name: s}, fieldPaths: ['spec.predictor.containers.[name=c].env.0.value']}",
        "{select: {name: s}, fieldPaths: ['spec.predictor.containers.*.env.*.value'], "
        "options: {delimiter: '-', index: 1}}",
        "{select: {name: s}, fieldPaths: [spec.a.b], options: {create: true}, source: data.word}",
        "{select: {annotationSelector: a=b}, fieldPaths: ['metadata.annotations.[b.c/d]']}",
        "{select: {annotationSelector: a=c}, fieldPaths: [spec.absent]}",
        "{select: {kind: InferenceService}, fieldPaths: [spec.absent]}",
        "{select: {name: s}, fieldPaths: [spec.predictor.containers.7.name]}",
    ],
)
def test_replacements_do_what_kubectls_do(target: str, tmp_path: Path) -> None:
    """Both build the same, or both refuse."""
    need_kustomize()
    (tmp_path / "s.yaml").write_text(SERVICE, encoding="utf-8")
    target, _, named = target.removesuffix("}").partition(", source: ")
    source = f"{{kind: ConfigMap, name: m, fieldPath: {named or 'data.number'}}}"
    text = f"resources: [s.yaml]\nreplacements: [{{source: {source}, targets: [{target}}}]}}]\n"
    (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
    try:
        ours = build_kustomization(tmp_path)
    except RenderFailed:
        with pytest.raises(BuildFailed):
            build(tmp_path)
    else:
        assert ours == list(load_manifests(build(tmp_path)))
