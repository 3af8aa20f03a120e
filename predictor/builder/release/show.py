"""Describes a release, as JSON or as a table, from release.json, reports, plans and file sizes."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from predictor.builder.weights.conversion import conversion_line
from predictor.plan import TensorRTPlan, find_plans
from protocol.messages import Formality
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.release import REPORTS_DIR, TRANSLATION_FILE, Release, load_release
from protocol.release_documents import ReleaseError
from protocol.template_sections import CONTEXT, TERM, TERMS
from protocol.translation_spec import SamplingAdvice, load_translation_spec

KV_VALUE_BYTES = 4  # decoder.onnx keeps K/V in float32


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """A text whose prompt is to be shown, and what goes with it."""

    text: str
    target: str
    """Tag of the language to translate into."""
    source: str | None = None
    """Tag of the text's language; None: the first one that the release translates from into :attr:`target`."""
    context: str = ""
    formality: Formality = Formality.DEFAULT
    terms: tuple[tuple[str, str], ...] = ()
    """With their translations."""


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
    spec = load_translation_spec(directory / TRANSLATION_FILE)
    document["sections"] = sorted(spec.all_sections - {TERM})
    document["sampling"] = asdict(spec.sampling)
    return document


def describe_prompt(directory: Path, wanted: PromptRequest) -> dict[str, Any]:
    """The prompt of a text, token by token, as a JSON document.

    Args:
        directory: of the release.
        wanted: the text, and what goes with it.

    Raises:
        ReleaseError: there is no release, it does not have the pair, or its template has no place for what is wanted.
        YiwenError: no prompt can be made of the text.
    """
    encoder = PromptEncoder.load(directory)
    source, target = wanted.source, wanted.target
    pairs = encoder.spec.pairs
    pair = next((pair for pair in pairs if pair[1] == target and source in (None, pair[0])), None)
    if pair is None:
        known = sorted({tag for _, tag in pairs} if source is None else {b for a, b in pairs if a == source})
        raise ReleaseError(f"{directory} does not translate into {target}; known are {', '.join(known)}")
    _check_sections(directory, encoder.spec.sections(*pair), wanted)
    text = PromptText(
        wanted.text, *pair, context=wanted.context, formality=wanted.formality, terms=wanted.terms
    )
    (prompt,) = encoder.encode([text])
    pieces = encoder.pieces(prompt.token_ids)
    return {
        "source": pair[0],
        "target": pair[1],
        "max_new_tokens": prompt.max_new_tokens,
        "tokens": [
            {"id": token_id, "piece": piece} for token_id, piece in zip(prompt.token_ids, pieces, strict=True)
        ],
    }


def _check_sections(directory: Path, sections: Collection[str], wanted: PromptRequest) -> None:
    asked = {CONTEXT: bool(wanted.context), TERMS: bool(wanted.terms)}
    missing = [name for name, is_asked in asked.items() if is_asked and name not in sections]
    if wanted.formality is not Formality.DEFAULT and wanted.formality.section not in sections:
        missing.append(f"formality {wanted.formality.value}")
    if missing:
        raise ReleaseError(
            f"{directory}: its template for this pair has no place for {', '.join(missing)} (docs/releases.md)"
        )


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
        ("precision", _precision_line(document["precision"], provenance.get("quantization"))),
        (
            "decoder",
            f"{decoder['layers']} layers, {decoder['hidden']} wide, {decoder['heads']} heads "
            f"({decoder['kv_heads']} K/V) of {decoder['head_dim']}, vocabulary {decoder['vocab']:,}",
        ),
        ("longest sequence", f"{limits['max_sequence_tokens']:,} tokens"),
        ("languages", ", ".join(document["languages"])),
        ("prompts", f"with places for {', '.join(document['sections']) or 'the text alone'}"),
        ("sampling", _sampling_line(document["sampling"])),
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
        *_quantized_lines(provenance),
        ("built", f"{provenance.get('built_at')} with {versions}"),
    ]
    for plan in document["plans"]:
        lines.append((f"plan {plan['name']}", _plan_line(plan)))
    for name, report in document["reports"].items():
        lines.append((f"report {name}", _summary(report)))
    return lines


def _quantized_lines(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    document = provenance.get("quantized_checkpoint")
    return [] if document is None else [("weights", conversion_line(document))]


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


def _precision_line(precision: str, quantization: dict[str, Any] | None) -> str:
    if not quantization:
        return precision
    return f"{precision}, blocks of {quantization['block_size']}, times activations in {quantization['activations']}"


def _sampling_line(sampling: dict[str, Any]) -> str:
    defaults = asdict(SamplingAdvice())
    given = {name: value for name, value in sampling.items() if value != defaults[name]}
    ignored = given.pop("repetition_penalty", None)
    line = ", ".join(f"{name} {value:g}" for name, value in given.items())
    note = "" if ignored is None else f"; repetition_penalty {ignored:g} is not applied"
    return (line if sampling["temperature"] else "greedy") + note


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
