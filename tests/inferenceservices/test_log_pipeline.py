"""The log pipeline: Fluent Bit's parser and the index template, over lines as our formatter writes them.

Fluent Bit itself is in no registry of ours, so that its parser's rules are applied here.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest

from inferenceservices.check import ROOT
from protocol.kubernetes.documents import load_manifests, mapping
from protocol.kubernetes.kubectl import build_kustomization
from serving.logs import JsonFormatter

PIPELINE = ROOT / "log-pipeline"
CRI = re.compile(r"(?P<time>\S+) (?P<stream>stdout|stderr) (?P<tag>[FP]) (?P<log>.*)")
"""A line of the Container Runtime Interface's format, which Fluent Bit's own parser `cri` reads. Onigmo, its engine
of expressions, and Python's agree on these. A long line comes in parts: all but the last one have the tag P."""
PART_BYTES = 16384
"""containerd's default for the longest part."""


def as_containerd_writes(line: str) -> list[str]:
    parts = [line[start : start + PART_BYTES] for start in range(0, len(line), PART_BYTES)]
    head = "2026-11-29T01:02:03.123456789Z stderr"
    return [f"{head} {'F' if number == len(parts) - 1 else 'P'} {part}" for number, part in enumerate(parts)]


def put_together(lines: list[str]) -> str:
    """As the multiline parser `cri` does: parts are joined until one has the tag F."""
    matches = [CRI.fullmatch(line) for line in lines]
    assert [match is None for match in matches] == [False] * len(lines)
    parts = [match for match in matches if match is not None]
    assert [part["tag"] for part in parts] == [*"P" * (len(parts) - 1), "F"]
    return "".join(part["log"] for part in parts)


def section(file: str, kind: str, **wanted: str) -> dict[str, str]:
    """The section of a kind, with such values, of a file in Fluent Bit's own format."""
    text = (PIPELINE / file).read_text(encoding="utf-8")
    parts = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)[1:]
    sections = [
        dict(line.split(None, 1) for line in body.splitlines() if line.startswith("    ") and "#" not in line)
        for name, body in zip(parts[::2], parts[1::2], strict=True)
        if name == kind
    ]
    (found,) = (each for each in sections if wanted.items() <= each.items())
    return found


def test_it_builds_in_a_namespace_of_its_own() -> None:
    documents = load_manifests(build_kustomization(PIPELINE))
    kinds = {str(each["kind"]) for each in documents}
    assert kinds >= {"DaemonSet", "Job", "ConfigMap", "NetworkPolicy", "ClusterRole"}
    namespaces = {mapping(each, "metadata").get("namespace") for each in documents}
    assert namespaces == {"logging", None}


def test_what_the_pods_mount_is_there() -> None:
    documents = load_manifests(build_kustomization(PIPELINE))
    config_maps = {
        mapping(each, "metadata")["name"]: each for each in documents if each["kind"] == "ConfigMap"
    }
    (daemon_set,) = (each for each in documents if each["kind"] == "DaemonSet")
    (job,) = (each for each in documents if each["kind"] == "Job")
    for workload, file in ((daemon_set, "fluent-bit.conf"), (job, "index-template.json")):
        pod = mapping(workload, "spec", "template", "spec")
        (config,) = (volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume)
        assert file in mapping(config_maps[config], "data")
        for source in pod["containers"][0]["envFrom"]:
            name = next(iter(source.values())).get("name")
            assert name in config_maps or source["secretRef"]["optional"]


@pytest.mark.parametrize("languages", [1, 10_000])
def test_the_parser_reads_our_lines_as_containerd_writes_them(languages: int) -> None:
    record = logging.LogRecord("yiwen.request", logging.INFO, "", 0, "request", (), None)
    record.fields = {"request_id": "r-1", "status": 200, "pair": ",".join(["en-zh"] * languages)}
    line = JsonFormatter({"component": "transformer", "release": "abc"}).format(record)
    lines = as_containerd_writes(line)
    assert (len(lines) > 1) == (languages > 1)
    parser = section("parsers.conf", "PARSER", name="yiwen")
    assert (parser["format"], parser["time_key"]) == ("json", "ts")
    document = json.loads(put_together(lines))
    parsed = datetime.strptime(document["ts"], parser["time_format"].replace("%L", "%f"))
    assert abs((parsed - datetime.now(tz=timezone.utc)).total_seconds()) < 60
    assert document["component"] == "transformer"


def test_the_filters_name_what_is_there() -> None:
    parser = section("fluent-bit.conf", "FILTER", name="parser")
    assert parser["parser"] == section("parsers.conf", "PARSER", name="yiwen")["name"]
    assert parser["key_name"] == "log", "the field that the parser cri makes of a line"
    assert section("fluent-bit.conf", "INPUT")["multiline.parser"] == "cri"
    output = section("fluent-bit.conf", "OUTPUT")
    (pattern,) = json.loads((PIPELINE / "index-template.json").read_text())["index_patterns"]
    assert pattern == f"{output['logstash_prefix']}-*"


@pytest.mark.parametrize(
    ("name", "is_read"),
    [
        ("yiwen-transformer-00001-deployment-5d_yiwen_kserve-container-0a1b.log", True),
        ("yiwen-predictor-6c_yiwen_kserve-container-0a1b.log", True),
        ("yiwen-transformer-00001-deployment-5d_yiwen_queue-proxy-0a1b.log", False),
        ("coredns-7c_kube-system_coredns-0a1b.log", False),
    ],
)
def test_the_lines_of_our_containers_are_read_and_no_others(name: str, is_read: bool) -> None:
    tail = section("fluent-bit.conf", "INPUT")
    path = Path("/var/log/containers") / name
    excluded = any(path.match(pattern) for pattern in tail["exclude_path"].split(","))
    assert (path.match(tail["path"]) and not excluded) == is_read
