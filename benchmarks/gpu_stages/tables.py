"""Formats the stages' figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

VLLM = {"1": 223.0, "8": 1652.0, "32": 5258.0, "64": 8379.0, "128": 11673.0}
"""tokens/s of vLLM 0.21.0 (torch 2.11, CUDA graphs, FlashAttention 3, dummy weights) on such an H200, same shape, 64
tokens in and 64 out, offline; measured earlier, not in this run."""

Figures = dict[str, Any]


def render(figures: Figures, *, command: str) -> str:
    """The tables of all stages that saved figures."""
    parts = [f"`{command}`"]
    for name, write in (
        ("machine", _machine),
        ("release", _build),
        ("decode", _decode),
        ("overlap", _overlap),
        ("load", _load),
        ("curve", _curve),
        ("parity", _parity),
        ("service", _service),
        ("profile", _profile),
    ):
        if name in figures:
            parts.append(write(figures))
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _machine(figures: Figures) -> str:
    machine = figures["machine"]
    return (
        f"{machine['date']}, {machine['gpu']} ({machine['sm_count']} multiprocessors), driver {machine['driver']}, "
        f"TensorRT {machine['tensorrt']}, Python {machine['python']}, {machine['cpu_cores']} CPU cores. "
        f"Copy bandwidth {machine['copy_bytes_per_s'] / 1e12:.2f} TB/s."
    )


def _build(figures: Figures) -> str:
    builds = [figures[name] for name in ("release", "plan", "plan-int8") if name in figures]
    nbytes = {name: size for build in builds for name, size in build.get("plan_bytes", {}).items()}
    head = ["", "seconds", "GB", "of float16's bytes"]
    rows = [
        [name, f"{seconds:.0f}", *_size(nbytes.get(name), nbytes.get("float16"))]
        for build in builds
        for name, seconds in build["seconds"].items()
    ]
    return "## Building the 7B model\n\n" + _table(head, rows)


def _size(nbytes: int | None, whole: int | None) -> tuple[str, str]:
    if nbytes is None or whole is None:
        return "", ""
    return f"{nbytes / 1e9:.2f}", f"{nbytes / whole:.2f}"


def _decode(figures: Figures) -> str:
    rows = [
        [precision, slots, f"{1e3 * step['seconds']:.2f}", f"{1e3 * step['floor_seconds']:.2f}",
         f"{step['seconds'] / step['floor_seconds']:.2f}"]
        for precision, measured in figures["decode"].items()
        for slots, step in measured["steps"].items()
    ]  # fmt: skip
    head = ["precision", "slots", "ms a step", "floor, ms", "of the floor"]
    return "## Decode step, 256 tokens of past in each slot\n\n" + _table(head, rows)


def _overlap(figures: Figures) -> str:
    rows = [
        [release, precision, slots, f"{1e3 * step['ordinary_seconds']:.3f}",
         f"{1e3 * step['overlapping_seconds']:.3f}",
         f"{step['overlapping_seconds'] / step['ordinary_seconds']:.3f}", "yes" if step["equal"] else "NO"]
        for release, precisions in figures["overlap"].items()
        for precision, measured in precisions.items()
        for slots, step in measured.items()
    ]  # fmt: skip
    head = [
        "release",
        "precision",
        "slots",
        "ordinary, ms a step",
        "overlapping, ms a step",
        "ratio",
        "same bits",
    ]
    return "## Launches that overlap\n\n" + _table(head, rows)


def _load(figures: Figures) -> str:
    loads = [figures[name] for name in ("load", "load-int8") if name in figures]
    rivals = figures.get("huggingface", {})
    rows = []
    for measured in loads:
        for callers, http in measured["http"].items():
            rate = http["tokens_per_s"]
            rows.append(
                [
                    measured["precision"],
                    callers,
                    f"{measured['offline'][callers]['tokens_per_s']:.0f}",
                    f"{rate:.0f}",
                    f"{1e3 * http['p50_s']:.0f}",
                    f"{1e3 * http['p99_s']:.0f}",
                    _ratio(rate, VLLM.get(callers)),
                    _ratio(rate, rivals.get("static", {}).get(callers)),
                    _ratio(rate, rivals.get("default", {}).get(callers)),
                ]
            )
    head = ["precision", "in flight", "offline, tokens/s", "HTTP, tokens/s", "P50, ms", "P99, ms", "to vLLM",
            "to HF static", "to HF generate"]  # fmt: skip
    ready = ", ".join(f"{measured['precision']} {measured['ready_s']:.1f} s" for measured in loads)
    text = "## Tokens per second, 64 in and 64 out\n\n" + _table(head, rows)
    text += f"\n\nServer's start to ready, warm page cache: {ready}."
    if rivals:
        rows = [[kind, *(f"{rate:.0f}" for rate in rivals[kind].values())] for kind in ("static", "default")]
        text += f"\n\ntransformers {rivals['transformers']} on torch {rivals['torch']}, tokens/s at "
        text += f"{', '.join(rivals['default'])} rows: " + "; ".join(" ".join(row) for row in rows) + "."
    return text


def _ratio(ours: float, theirs: float | None) -> str:
    return "" if theirs is None else f"{ours / theirs:.2f}"


def _curve(figures: Figures) -> str:
    curve = figures["curve"]
    rows = [
        [slots, f"{load['tokens_per_s']:.0f}", f"{1e3 * load['p50_s']:.0f}", f"{1e3 * load['p99_s']:.0f}"]
        for slots, load in curve["slots"].items()
    ]
    head = ["slots", "tokens/s", "P50, ms", "P99, ms"]
    return f"## Slots, {curve['precision']}, {curve['callers']} requests at once\n\n" + _table(head, rows)


def _parity(figures: Figures) -> str:
    parity = figures["parity"]
    rows = [
        [precision, f"{100 * measured['equal']:.2f} %", f"{measured['logprob_difference']:.1e}"]
        for precision, measured in parity["precisions"].items()
    ]
    head = ["precision", "equal to float32 on ONNX Runtime", "mean absolute log-probability difference"]
    return f"## Demo model, {parity['titles']} held-out titles\n\n" + _table(head, rows)


def _service(figures: Figures) -> str:
    rows = [[name, value] for name, value in figures["service"].items()]
    return "## Both services, demo model\n\n" + _table(["", ""], rows)


def _profile(figures: Figures) -> str:
    parts = []
    for measured in (figures[name] for name in ("profile", "profile-int8") if name in figures):
        profile = measured["profile"]
        step = profile["step"]
        head = ["sequences", *(f"{tokens} tokens held, ms" for tokens in step["context_tokens"])]
        rows = [
            [count, *(f"{1e3 * seconds:.2f}" for seconds in row)]
            for count, row in zip(step["slots"], step["seconds"], strict=True)
        ]
        parts.append(f"## Profile {profile['name']}\n\n{_table(head, rows)}\n\n{_beside_steps(measured)}")
    return "\n\n".join(parts)


def _beside_steps(measured: Figures) -> str:
    profile = measured["profile"]
    token, step, request = (
        profile[name]
        for name in ("prefill_seconds_per_token", "prefill_step_seconds", "request_overhead_seconds")
    )
    starts = ", ".join(f"{seconds:.1f}" for seconds in measured["starts_s"])
    other = profile["memory"]["other_bytes"] / 2**20
    rates = ", ".join(
        f"{load['tokens_per_s']:.0f} at {callers}" for callers, load in measured["http"].items()
    )
    return (
        f"A prompt token {1e6 * token:.1f} µs, a step with prompts {1e3 * step:.2f} ms, a request "
        f"{1e3 * request:.2f} ms, starts {starts} s, beside weights and K/V {other:.0f} MiB. "
        f"Tokens/s over HTTP, 64 in and 64 out, by callers: {rates}."
    )
