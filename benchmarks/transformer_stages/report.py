"""Formats the figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

TARGETS = {
    "one_to_echo": "Hits, one text a request: requests/s to a bare KServe model's",
    "grpc_to_echo": "The same over gRPC",
    "deepl_to_one": "The same over DeepL's `/v2/translate`: requests/s to the v2 protocol's",
    "texts_many_to_one": "64 texts a request, all hits: texts/s to one text a request",
    "p99": "P99 of hits over HTTP to a bare KServe model's, both at half of the slower one's requests/s",
    "miss": "A miss adds to the predictor's own time, median",
    "first_token": "A stream adds before its first token, median",
}
HIT_TARGETS = {"one_to_echo": 0.75, "grpc_to_echo": 0.75, "deepl_to_one": 0.8, "texts_many_to_one": 20.0}
NOISY_CORES = 0.1


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report; stages that did not run are left out."""
    stages = results["stages"]
    parts = [_heading(results), _table(("", "target", "measured", "by processor time", ""), _targets(stages))]
    parts += [render(stages[name]) for name, render in _DETAILS.items() if name in stages]
    return "\n\n".join(parts) + "\n"


def _heading(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    text = (
        f"# The transformer on this machine\n\n{results['date']}, {machine['cores']} cores of {machine['cpu']}, "
        f"Python {machine['python']}, kserve {results['versions']['kserve']}: `{results['command']}`."
    )
    if results["others_busy_cores"] > NOISY_CORES:
        text += f"\n\n**Not for publication**: other processes kept {results['others_busy_cores']:.2f} cores busy."
    return text


def _targets(stages: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    if "hits" in stages:
        latency = stages["hits"]["latency"]["p99_one_to_echo"]
        rows += [_hit_target(stages["hits"], name, least) for name, least in HIT_TARGETS.items()]
        rows.append((TARGETS["p99"], "at most 2", f"{latency:.2f}", "", _word(latency <= 2)))
    if "misses" in stages:
        rows.append(_added_target("miss", stages["misses"]["miss"], "latency_added_ms"))
        rows.append(_added_target("first_token", stages["misses"]["first_token"], "first_added_ms"))
    return rows


def _hit_target(figures: Mapping[str, Any], name: str, least: float) -> tuple[str, ...]:
    ratio, by_cpu = figures["ratios"][name], figures["ratios_by_cpu"][name]
    return TARGETS[name], f"at least {least:g}", f"{ratio:.2f}", f"{by_cpu:.2f}", _word(ratio >= least)


def _added_target(name: str, figures: Mapping[str, float] | None, figure: str) -> tuple[str, ...]:
    if figures is None:
        return TARGETS[name], "at most 3 ms", "", "", "this transformer streams no text"
    return TARGETS[name], "at most 3 ms", f"{figures[figure]:.2f} ms", "", _word(figures[figure] <= 3)


def _word(reached: bool) -> str:
    return "reached" if reached else "missed"


def _hits(figures: Mapping[str, Any]) -> str:
    names = {
        "echo": "bare KServe model",
        "one": "transformer, 1 text",
        "many": "transformer, 64 texts",
        "echo, logging": "bare KServe model, its log lines on",
        "one, logging": "transformer, 1 text, its log line on",
        "echo, gRPC": "bare KServe model, gRPC",
        "one, gRPC": "transformer, 1 text, gRPC",
        "one, from Redis": "transformer, 1 text, Redis alone",
        "one, DeepL's API": "transformer, 1 text, DeepL's API",
        "generator": "a server that does nothing",
    }
    rates, cpu = figures["requests_per_s"], figures["server_cpu_ms"]
    rows = [
        (title, *_spread(rates[name], ",.0f"), f"{median(cpu[name]):.3f}") for name, title in names.items()
    ]
    latency = figures["latency"]
    quiet = [
        (names[name], *(f"{median(_known(each, share)):.2f}" for share in ("p50_ms", "p95_ms", "p99_ms")))
        for name, each in latency["rounds"].items()
    ]
    return "\n\n".join(
        (
            "## Hits",
            f"Callers that wait for their answers. The load generator was busy for at most "
            f"{figures['generator_cpu_share']:.0%} of the time.",
            _table(("", "requests/s, median", "least", "most", "server's CPU ms a request"), rows),
            f"By the clock, {latency['requests_per_s']:,.0f} requests/s, milliseconds from the intended start "
            f"(medians of the rounds; the generator itself was late by {latency['generator_late_p99_ms']:.2f} ms "
            "at P99):",
            _table(("", "P50", "P95", "P99"), quiet),
        )
    )


def _misses(figures: Mapping[str, Any]) -> str:
    rows = [_added("whole answer", figures["miss"], "latency")]
    if figures["first_token"] is not None:
        rows.append(_added("first token of a stream", figures["first_token"], "first"))
    return (
        "## Misses\n\nOne request at a time, the same prompt to both. Medians in milliseconds.\n\n"
        + _table(("", "transformer", "predictor", "added", "pairs"), rows)
    )


def _added(title: str, figures: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    values = (figures[f"{kind}_{side}_ms"] for side in ("transformer", "predictor", "added"))
    return title, *(f"{value:.2f}" for value in values), str(figures["pairs"])


def _load_steps(figures: Mapping[str, Any]) -> str:
    first, last = (figures["rows"][place]["unscaled_per_s"] for place in (0, -1))
    text = (
        f"## From {first} to {last} requests/s, times {figures['scale']:.3f}\n\n"
        f"The predictor translates {figures['capacity_titles_per_s']:,.0f} titles/s here on 16 slots. Titles follow "
        f"Zipf's law with exponent {figures['exponent']:g} from a catalogue of {figures['catalogue']:,}; with the "
        f"cache on, {figures['wanted_hits']:.0%} of them should be hits. Open loop, {figures['step_s']:g} s a "
        f"step, deadline {figures['deadline_ms'] / 1000:g} s. Milliseconds from the intended start; a request "
        "without a translation by then counts as slower than all others. Answered are those within the step's time; "
        "shared are answers that another request had asked for already."
    )
    head = (
        "slots",
        "cache",
        "unscaled requests/s",
        "offered/s",
        "answered/s",
        "hits",
        "shared",
        "P50",
        "P95",
        "P99",
    )
    rows = [_load_step_row(row, figures["deadline_ms"]) for row in figures["rows"]]
    return f"{text}\n\n{_table((*head, 'timeouts', '429', 'other errors'), rows)}"


def _load_step_row(row: Mapping[str, Any], deadline_ms: int) -> tuple[str, ...]:
    times = (row[f"p{share}_ms"] for share in (50, 95, 99))
    return (
        str(row["slots"]),
        row["cache"],
        str(row["unscaled_per_s"]),
        f"{row['offered_per_s']:.1f}",
        f"{row['achieved_per_s']:.1f}",
        f"{row['hit_share']:.0%}",
        f"{row['shared_share']:.0%}",
        *(f"> {deadline_ms}" if value is None else f"{value:.0f}" for value in times),
        str(row["too_late"] + row["unanswered"]),
        str(row["refused"]),
        str(row["other"]),
    )


def _tracing(figures: Mapping[str, Any]) -> str:
    rows = [
        (name, f"{cpu_ms:.4f}", f"{figures['ratios'][name]:.3f}")
        for name, cpu_ms in figures["cpu_ms"].items()
    ]
    return "## Tracing\n\nCache hits, one text each; the share of requests that are sampled.\n\n" + _table(
        ("traced", "CPU ms a request, median", "to off, median of the rounds"), rows
    )


_DETAILS = {"hits": _hits, "misses": _misses, "load_steps": _load_steps, "tracing": _tracing}


def _spread(values: Sequence[float], form: str) -> tuple[str, ...]:
    return tuple(format(value, form) for value in (median(values), min(values), max(values)))


def _known(rounds: Iterable[Mapping[str, float | None]], name: str) -> list[float]:
    return [value for each in rounds if (value := each[name]) is not None]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
