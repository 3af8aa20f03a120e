"""Computes figures and ratios from samples, and writes the Markdown tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from benchmarks.engine.catalogue import YIWEN, Variant
from benchmarks.engine.workloads import NAMES

FIGURES = {
    "whole_tokens_per_s": "Generated tokens per second, prefill and decode together",
    "decode_tokens_per_s": "Generated tokens per second, decode alone",
}
TITLES = {"stream1": "1 stream", "streams16": "16 streams", "mixed": "mixed lengths"}
NOISY_CORES = 0.1


def best_strategies(samples: Iterable[Mapping[str, Any]], keep: int) -> dict[str, tuple[str, ...]]:
    """The `keep` fastest strategies for each workload."""
    speeds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        speeds[sample["workload"]][sample["strategy"]].append(sample["whole_tokens_per_s"])
    return {
        work: tuple(sorted(by_strategy, key=lambda name: -median(by_strategy[name]))[:keep])
        for work, by_strategy in speeds.items()
    }


def figures(samples: list[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """One variant's figures by workload, for the best strategy that ran in every round."""
    by_workload: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        by_workload[sample["workload"]][sample["strategy"]].append(sample)
    result = {}
    for work, by_strategy in by_workload.items():
        rounds = max(len(runs) for runs in by_strategy.values())
        medians = {
            name: median(run["whole_tokens_per_s"] for run in runs) for name, runs in by_strategy.items()
        }
        lasting = [name for name, runs in by_strategy.items() if len(runs) == rounds]
        best = max(lasting, key=lambda name: medians[name])
        runs = by_strategy[best]
        result[work] = {
            "strategy": best,
            "requests": runs[0]["requests"],
            "of_requests": runs[0]["of_requests"],
            "strategies_tried": {name: round(value, 2) for name, value in medians.items()},
            **{name: _spread([run[name] for run in runs]) for name in FIGURES},
        }
    return result


def _spread(values: list[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": round(median(known), 2), "min": round(min(known), 2), "max": round(max(known), 2)}


def ratios(variants: Iterable[Variant], measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Speed ratio of ours to each rival of equal weight bits, by the medians."""
    ran = [variant for variant in variants if measured[variant.name].get("figures")]
    return [
        {"ours": ours.name, "rival": rival.name, "workload": work, "figure": figure, "ratio": round(ratio, 2)}
        for ours in ran
        if ours.system == YIWEN
        for rival in ran
        if rival.system != YIWEN and rival.bits == ours.bits
        for work in NAMES
        for figure in FIGURES
        if (ratio := _ratio(measured[ours.name], measured[rival.name], work, figure)) is not None
    ]


def _ratio(ours: Mapping[str, Any], rival: Mapping[str, Any], work: str, figure: str) -> float | None:
    values = [(side["figures"].get(work) or {}).get(figure) for side in (ours, rival)]
    return values[0]["median"] / values[1]["median"] if values[0] and values[1] else None


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report."""
    measured = results["variants"]
    parts = [_heading(results)]
    works = [work for work in NAMES if work in results["workloads"]]
    for figure, title in FIGURES.items():
        # A mixed batch has no point in time at which its prefill ends.
        columns = [work for work in works if figure == "whole_tokens_per_s" or work != "mixed"]
        if columns:
            parts.append(_speed_table(title, figure, columns, measured))
    if results["ratios"]:
        parts.append(_ratio_table(results["ratios"], works))
    parts += [_check_table(measured), _notes(measured)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    others = max((variant["others_busy_cores"] for variant in results["variants"].values()), default=0.0)
    # Threads that spin, as OpenMP's do, lose far more on a shared core than threads that sleep, so load by other
    # processes changes the ratios between systems.
    noisy = (
        f"\n\n**Not for publication: others kept up to {others} cores busy.**" if others > NOISY_CORES else ""
    )
    return (
        "# Engine benchmark\n\n"
        f"{results['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{results['threads']} threads for each system, median (minimum to maximum) of {results['repeats']} rounds, "
        f"scale `{results['scale']}`, weights `{results['checkpoint']['name']}`.\n\n`{results['command']}`"
        + noisy
    )


def _speed_table(title: str, figure: str, columns: list[str], measured: Mapping[str, Any]) -> str:
    rows = []
    for name, variant in measured.items():
        cells = [_cell((variant.get("figures") or {}).get(work), figure) for work in columns]
        if variant.get("unavailable"):
            cells = [f"not run: {_escape(variant['unavailable'])}", *[""] * (len(columns) - 1)]
        rows.append([name, str(variant["bits"]), *cells])
    return f"## {title}\n\n" + _table(["system", "weight bits", *(TITLES[work] for work in columns)], rows)


def _cell(entry: Mapping[str, Any] | None, figure: str) -> str:
    spread = (entry or {}).get(figure)
    return "" if not spread else f"{spread['median']:.1f} ({spread['min']:.1f} to {spread['max']:.1f})"


def _ratio_table(entries: list[Mapping[str, Any]], works: list[str]) -> str:
    columns = [(work, figure) for work in works for figure in FIGURES if work != "mixed" or "whole" in figure]
    found = {(e["ours"], e["rival"], e["workload"], e["figure"]): e["ratio"] for e in entries}
    pairs = dict.fromkeys((entry["ours"], entry["rival"]) for entry in entries)
    rows = [
        [*pair, *(f"{found[key]:.2f}" if (key := (*pair, *column)) in found else "" for column in columns)]
        for pair in pairs
    ]
    heads = [f"{TITLES[work]}, {figure.split('_')[0]}" for work, figure in columns]
    return "## Times faster, at equal weight bits\n\n" + _table(["ours", "rival", *heads], rows)


def _check_table(measured: Mapping[str, Any]) -> str:
    rows = []
    for name, variant in measured.items():
        check = variant.get("check") or {}
        if check.get("tokens_equal_hf") is None:
            continue
        difference = check.get("log_prob_max_diff_hf")
        rows.append([name, check["rows_equal_hf"], "" if difference is None else f"{difference:.1e}"])
    head = ["system", "rows with equal tokens", "largest log-probability difference"]
    return "## Against Hugging Face's float32\n\n" + _table(head, rows) if rows else ""


def _notes(measured: Mapping[str, Any]) -> str:
    lines = []
    for name, variant in measured.items():
        for work, entry in (variant.get("figures") or {}).items():
            if entry["requests"] < entry["of_requests"]:
                part = f"{entry['requests']} of the {entry['of_requests']} requests"
                lines.append(f"- {name}, {TITLES[work]}: one at a time, so {part} were timed.")
            tried = entry["strategies_tried"]
            if len(tried) > 1:
                others = ", ".join(
                    f"{key} {value:.1f}" for key, value in tried.items() if key != entry["strategy"]
                )
                lines.append(f"- {name}, {TITLES[work]}: `{entry['strategy']}`; tried as well: {others}.")
        if variant.get("others_busy_cores", 0) > NOISY_CORES:
            lines.append(f"- {name}: others kept up to {variant['others_busy_cores']} cores busy.")
    return "## Notes\n\n" + "\n".join(lines) if lines else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
