"""``python -m inferenceservices.check``: builds every overlay and every combination of components, and checks them.

Exit codes: 0 all is well, 1 a manifest breaks a rule or its schema, 2 something could not be built or read.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from inferenceservices.combinations import combinations, write_kustomization
from inferenceservices.knative_service import knative_services
from inferenceservices.kustomize import BuildFailed, build, kustomize_command
from inferenceservices.rules import Cluster, Finding, check
from inferenceservices.rules.features import knative_configuration
from inferenceservices.schemas import Kind, Schemas, load_schemas, validate
from protocol.kubernetes.documents import Document, load_manifests, mapping
from protocol.kubernetes.inference_service import KNATIVE, inference_services

ROOT = Path(__file__).resolve().parent
SCHEMAS_VARIABLE = "CRD_SCHEMAS"
SHARED_SCHEMAS = ROOT.parent.parent / "shared" / "crds"
"""Where schemas lie beside a checkout that shares them."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one build."""

    name: str
    manifests: int
    findings: tuple[Finding, ...]
    without_schema: frozenset[Kind] = field(default_factory=frozenset)


def schema_directory(environ: Mapping[str, str]) -> Path | None:
    """The directory of CustomResourceDefinitions: that of CRD_SCHEMAS, or beside the checkout; None without either.

    Raises:
        BuildFailed: CRD_SCHEMAS names no directory.
    """
    named = environ.get(SCHEMAS_VARIABLE, "")
    if named and not Path(named).is_dir():
        raise BuildFailed(
            f"{SCHEMAS_VARIABLE} names no directory: set it to one with CustomResourceDefinitions"
        )
    directory = Path(named) if named else SHARED_SCHEMAS
    return directory if directory.is_dir() else None


def cluster_of(knative: Sequence[Document]) -> Cluster:
    """What a cluster is set to once ``knative``, Knative's built ConfigMaps, are applied."""
    data = {str(mapping(d, "metadata").get("name")): mapping(d, "data") for d in knative}
    longest = data.get("config-defaults", {}).get("max-revision-timeout-seconds", "600")
    return Cluster(features=data.get("config-features", {}), longest_timeout_s=int(longest))


def examine(name: str, documents: tuple[Document, ...], cluster: Cluster, schemas: Schemas | None) -> Report:
    """Check the manifests of one build, and the Knative Services that KServe would make of them."""
    findings = check(documents, cluster)
    if schemas is None:
        return Report(name, len(documents), tuple(findings))
    made = [
        knative_service
        for service in inference_services(documents)
        if service.mode == KNATIVE
        for knative_service in knative_services(service)
    ]
    invalid, unknown = validate([*documents, *made], schemas)
    return Report(name, len(documents), (*findings, *invalid), frozenset(unknown))


def examine_knative(documents: tuple[Document, ...], schemas: Schemas | None) -> Report:
    """Check Knative's ConfigMaps: each key is one that Knative explains."""
    if schemas is None:
        return Report("knative", len(documents), ())
    rule = knative_configuration(schemas.settings)
    findings = [Finding("knative-configuration", "knative", m) for d in documents for m in rule(d)]
    invalid, unknown = validate(documents, schemas)
    return Report("knative", len(documents), (*findings, *invalid), frozenset(unknown))


def targets(scratch: Path) -> dict[str, Path]:
    """Every kustomization by name: overlays, release Jobs, and combinations, which are written into ``scratch``."""
    found = {
        f"{group}/{directory.name}": directory
        for group in ("overlays", "release-jobs")
        for directory in sorted((ROOT / group).iterdir())
    }
    for number, combination in enumerate(combinations()):
        directory = scratch / str(number)
        directory.mkdir()
        write_kustomization(combination, ROOT, directory)
        found[combination.name] = directory
    return found


def reports(schemas: Schemas | None, names: Sequence[str]) -> Iterator[Report]:
    """Build and check Knative's configuration, and then the kustomizations called ``names``, or all without any.

    Raises:
        BuildFailed: one of them cannot be built, or there is none of that name.
    """
    knative = load_manifests(build(ROOT.parent / "knative"))
    cluster = cluster_of(knative)
    yield examine_knative(knative, schemas)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        known = targets(Path(scratch))
        if not set(names) <= set(known):
            raise BuildFailed(f"there is no such build: name one of {', '.join(known)}")
        chosen = tuple(names) or tuple(known)
        for name, text in zip(chosen, pool.map(lambda name: build(known[name]), chosen), strict=True):
            yield examine(name, load_manifests(text), cluster, schemas)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print one line per build, and what is wrong; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m inferenceservices.check", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="as printed, e.g. overlays/production; none: all"
    )
    names = parser.parse_args(list(argv)).names
    unknown: set[Kind] = set()
    broken = 0
    try:
        directory = schema_directory(environ)
        schemas = load_schemas(directory) if directory else None
        print(f"built with {' '.join(kustomize_command() or ('nothing',))}; {_source(directory)}")
        for report in reports(schemas, names):
            print(f"{'FAULT' if report.findings else 'ok':5} {report.manifests:3} {report.name}")
            for finding in report.findings:
                print(f"      {finding}")
            unknown |= report.without_schema
            broken += bool(report.findings)
    except (BuildFailed, OSError, ValueError, yaml.YAMLError) as error:
        print(f"check-manifests: {error}", file=sys.stderr)
        return 2
    for api_version, kind in sorted(unknown):
        print(f"no schema of {kind} ({api_version}): its fields were not checked")
    return 1 if broken else 0


def _source(schemas: Path | None) -> str:
    if schemas is not None:
        return f"schemas of custom resources from {schemas}"
    return (
        f"custom resources are not checked against schemas: set {SCHEMAS_VARIABLE} to a directory with the "
        "CustomResourceDefinitions of KServe and Knative Serving"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
