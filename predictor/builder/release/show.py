"""Describes a release, as JSON or as a table, from release.json, reports, plans and file sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from predictor.plan import TensorRTPlan, find_plans
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.release import REPORTS_DIR, Release, ReleaseError, load_release

KV_VALUE_BYTES = 4  # decoder.onnx keeps K/V in float32


def describe(directory: Path) -> dict[str, Any]:
    """The description of a release as a JSON document.

    Raises:
        ReleaseError: there is no release, or a file of it is missing or unreadable.
    """
    release = load_release(directory)
    document = release.to_json()
    try:
        sizes = {name: (directory / name).stat().st_size for name in sorted(release.files)}
    except OSError as error:
        raise ReleaseError(f"{directory}: {error}; run `yiwen release verify`") from error
    document["bytes"] = {"total": sum(sizes.values()), "files": sizes}
    document["kv_bytes_per_token"] = release.decoder.kv_values_per_token * KV_VALUE_BYTES
    document["kv_bytes_per_slot"] = document["kv_bytes_per_token"] * release.limits.max_sequence_tokens
    document["plans"] = [_plan(plan, release) for plan in find_plans(directory)]
    document["reports"] = _reports(directory)
    return document


def describe_prompt(directory: Path, text: str, target: str, source: str | None) -> dict[str, Any]:
    """The prompt of a text, token by token, as a JSON document.

    Args:
        directory: of the release.
        text: to translate.
        target: tag of the language to translate into.
        source: tag of the text's language; None: the first one that the release translates from into ``target``.

    Raises:
        ReleaseError: there is no release, or it does not have the pair.
        YiwenError: no prompt can be made of the text.
    """
    encoder = PromptEncoder.load(directory)
    pairs = encoder.spec.pairs
    pair = next((pair for pair in pairs if pair[1] == target and source in (None, pair[0])), None)
    if pair is None:
        known = sorted({tag for _, tag in pairs} if source is None else {b for a, b in pairs if a == source})
        raise ReleaseError(f"{directory} does not translate into {target}; known are {', '.join(known)}")
    (prompt,) = encoder.encode([PromptText(text, *pair)])
    pieces = encoder.pieces(prompt.token_ids)
    return {
        "source": pair[0],
        "target": pair[1],
        "max_new_tokens": prompt.max_new_tokens,
        "tokens": [
            {"id": token_id, "piece": piece} for token_id, piece in zip(prompt.token_ids, pieces, strict=True)
        ],
    }


def print_prompt(document: dict[str, Any], console: Console) -> None:
    """The document of :func:`describe_prompt` as a table."""
    tokens = document["tokens"]
    console.print(
        f"{document['source']} to {document['target']}: {len(tokens)} tokens, "
        f"at most {document['max_new_tokens']} new ones",
        highlight=False,
    )
    for token in tokens:
        console.print(f"{token['id']:>8}  {token['piece']!r}", highlight=False, markup=False, soft_wrap=True)


def print_table(document: dict[str, Any], console: Console) -> None:
    """The document of :func:`describe` as a table."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _lines(document):
        table.add_row(label, value)
    console.print(table, highlight=False)


def _lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    decoder, limits, provenance = document["decoder"], document["limits"], document["provenance"]
    lines = [
        ("id", document["id"]),
        ("name", document["name"]),
        ("family", document["family"]),
        ("precision", document["precision"]),
        (
            "decoder",
            f"{decoder['layers']} layers, {decoder['hidden']} wide, {decoder['heads']} heads "
            f"({decoder['kv_heads']} K/V) of {decoder['head_dim']}, vocabulary {decoder['vocab']:,}",
        ),
        ("longest sequence", f"{limits['max_sequence_tokens']:,} tokens"),
        ("languages", ", ".join(document["languages"])),
        ("size", f"{document['bytes']['total'] / 1e6:,.1f} MB"),
        (
            "K/V cache",
            f"{document['kv_bytes_per_token']:,} bytes per token, "
            f"{document['kv_bytes_per_slot'] / 1e6:,.1f} MB per slot",
        ),
    ]
    versions = ", ".join(
        f"{name} {number}" for name, number in sorted(provenance.get("versions", {}).items())
    )
    lines += [
        ("checkpoint", f"{provenance.get('checkpoint')}, sha256 {provenance.get('checkpoint_sha256')}"),
        ("built", f"{provenance.get('built_at')} with {versions}"),
    ]
    for plan in document["plans"]:
        lines.append((f"plan {plan['name']}", _plan_line(plan)))
    for name, report in document["reports"].items():
        lines.append((f"report {name}", _summary(report)))
    return lines


def _plan(plan: TensorRTPlan, release: Release) -> dict[str, Any]:
    return {
        "name": plan.key.name,
        "gpu": plan.gpu_name,
        "bytes": plan.nbytes,
        "max_tokens": plan.max_tokens,
        "max_rows": plan.max_rows,
        "built_at": plan.built_at,
        "of_this_release": plan.release_id == release.id,
    }


def _plan_line(plan: dict[str, Any]) -> str:
    line = (
        f"{plan['gpu']}, {plan['bytes'] / 1e6:,.1f} MB, passes of {plan['max_tokens']:,} tokens "
        f"and {plan['max_rows']:,} rows, built {plan['built_at']}"
    )
    return line if plan["of_this_release"] else f"{line}; of another release, cannot be served"


def _summary(report: Any) -> str:  # noqa: ANN401 - any JSON document
    if not isinstance(report, dict):
        return "unreadable"
    plain = {
        key: value for key, value in report.items() if isinstance(value, (int, float)) and key != "schema"
    }
    return ", ".join(f"{key} {_figure(value)}" for key, value in plain.items()) or "empty"


def _figure(value: float | bool) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _reports(directory: Path) -> dict[str, Any]:
    reports: dict[str, Any] = {}
    for path in sorted((directory / REPORTS_DIR).glob("*.json")):
        try:
            reports[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            reports[path.stem] = None
    return reports
