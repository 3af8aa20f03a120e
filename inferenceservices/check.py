"""``python -m inferenceservices.check``: builds every overlay and every combination of components, and checks them.

Exit codes: 0 all checks pass, 1 a manifest breaks a rule or its schema, 2 something could not be built or read.
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
from inferenceservices.rules import Finding, KnativeSettings, check
from inferenceservices.rules.features import knative_configuration
from inferenceservices.schemas import Kind, Schemas, load_schemas, validate
from protocol.kubernetes.documents import Document, load_manifests, mapping
from protocol.kubernetes.inference_service import KNATIVE, inference_services
from protocol.kubernetes.kubectl import KustomizeError, build_kustomization

ROOT = Path(__file__).resolve().parent
SCHEMAS_VARIABLE = "CRD_SCHEMAS"


class CheckError(Exception):
    """The checks cannot run as asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The findings in one build."""

    name: str
    manifests: int
    """Number of manifests in the build."""
    findings: tuple[Finding, ...]
    without_schema: frozenset[Kind] = field(default_factory=frozenset)
    """Kinds in the build whose schema is not known."""


def schema_directory(environ: Mapping[str, str]) -> Path | None:
    """The directory of CustomResourceDefinitions that ``CRD_SCHEMAS`` names; None where it names none.

    Raises:
        CheckError: it names no directory, or is not set although ``CI`` is.
    """
    named = environ.get(SCHEMAS_VARIABLE, "")
    if named and not Path(named).is_dir():
        raise CheckError(
            f"{SCHEMAS_VARIABLE} names no directory: set it to one with CustomResourceDefinitions"
        )
    if not named and environ.get("CI"):
        raise CheckError(
            f"CI checks schemas too: set {SCHEMAS_VARIABLE} to a directory with CustomResourceDefinitions"
        )
    return Path(named) if named else None


def knative_settings(documents: Sequence[Document]) -> KnativeSettings:
    """The settings of a cluster to which ``documents``, Knative's ConfigMaps, are applied."""
    data = {str(mapping(d, "metadata").get("name")): mapping(d, "data") for d in documents}
    longest = data.get("config-defaults", {}).get("max-revision-timeout-seconds", "600")
    return KnativeSettings(features=data.get("config-features", {}), longest_timeout_s=int(longest))


def check_build(
    name: str, documents: tuple[Document, ...], settings: KnativeSettings, schemas: Schemas | None
) -> BuildReport:
    """Check the manifests of one build, and the Knative Services that KServe would make of them.

    Args:
        name: of the build, for the report.
        documents: its manifests.
        settings: those of the cluster's Knative.
        schemas: of custom resources; None checks the rules alone.
    """
    findings = check(documents, settings)
    if schemas is None:
        return BuildReport(name, len(documents), tuple(findings))
    generated = [
        knative_service
        for service in inference_services(documents)
        if service.mode == KNATIVE
        for knative_service in knative_services(service)
    ]
    invalid, unknown = validate([*documents, *generated], schemas)
    return BuildReport(name, len(documents), (*findings, *invalid), frozenset(unknown))


def check_knative_config(documents: tuple[Document, ...], schemas: Schemas | None) -> BuildReport:
    """Check that every key in Knative's ConfigMaps is one that Knative documents; nothing without ``schemas``."""
    if schemas is None:
        return BuildReport("knative", len(documents), ())
    rule = knative_configuration(schemas.settings)
    findings = [Finding("knative-configuration", "knative", m) for d in documents for m in rule(d)]
    invalid, unknown = validate(documents, schemas)
    return BuildReport("knative", len(documents), (*findings, *invalid), frozenset(unknown))


def kustomizations(scratch: Path) -> dict[str, Path]:
    """Every kustomization's directory by name: overlays, release Jobs, and combinations, written into ``scratch``."""
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


def build_and_check(schemas: Schemas | None, names: Sequence[str]) -> Iterator[BuildReport]:
    """Build and check Knative's configuration, then the kustomizations called ``names`` (all if it is empty).

    Raises:
        KustomizeError: one of them cannot be built.
        CheckError: there is none of that name.
    """
    knative = load_manifests(build_kustomization(ROOT.parent / "knative"))
    settings = knative_settings(knative)
    yield check_knative_config(knative, schemas)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        known = kustomizations(Path(scratch))
        if not set(names) <= set(known):
            raise CheckError(f"there is no such build: name one of {', '.join(known)}")
        chosen = tuple(names) or tuple(known)
        built = pool.map(lambda name: build_kustomization(known[name]), chosen)
        for name, text in zip(chosen, built, strict=True):
            yield check_build(name, load_manifests(text), settings, schemas)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print one line per build and its findings; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m inferenceservices.check", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="as printed, e.g. overlays/production; none: all"
    )
    names = parser.parse_args(list(argv)).names
    unknown: set[Kind] = set()
    failed = 0
    try:
        directory = schema_directory(environ)
        schemas = load_schemas(directory) if directory else None
        print(_source(directory))
        for report in build_and_check(schemas, names):
            print(f"{'FAIL' if report.findings else 'ok':5} {report.manifests:3} {report.name}")
            for finding in report.findings:
                print(f"      {finding}")
            unknown |= report.without_schema
            failed += bool(report.findings)
    except (CheckError, KustomizeError, OSError, ValueError, yaml.YAMLError) as error:
        print(f"check-manifests: {error}", file=sys.stderr)
        return 2
    for api_version, kind in sorted(unknown):
        print(f"no schema of {kind} ({api_version}): its fields were not checked")
    return 1 if failed else 0


def _source(schemas: Path | None) -> str:
    if schemas is not None:
        return f"schemas of custom resources from {schemas}"
    return (
        f"custom resources are not checked against schemas: set {SCHEMAS_VARIABLE} to a directory with the "
        "CustomResourceDefinitions of KServe and Knative Serving"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
