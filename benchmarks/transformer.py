"""`python -m benchmarks.transformer`: measures the transformer's costs on this machine.

Runs real processes on free ports (a bare KServe model as the baseline, transformers, the predictor of a release on
ONNX Runtime, Redis) and its own load generator. The stages alternate with the baseline, so that ratios hold on a
machine whose speed varies. Prints Markdown; with `--out` also writes it to a folder, with every sample as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.engine.__main__ import machine
from benchmarks.engine.processes import ResourceUsage
from benchmarks.transformer_stages import hits, load_steps, misses, report, tracing
from benchmarks.transformer_stages.setting import FULL, QUICK

STAGES = {
    "hits": hits.measure,
    "misses": misses.measure,
    "load_steps": load_steps.measure,
    "tracing": tracing.measure,
}
PACKAGES = ("kserve", "uvicorn", "fastapi", "onnxruntime", "redis", "orjson", "tokenizers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the report if --out is given."""
    options = _options(arguments)
    size = QUICK if options.quick else FULL
    before, started, own = ResourceUsage.now(), time.monotonic(), time.process_time()
    stages = {}
    for name in options.only or STAGES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        stages[name] = STAGES[name](options.release.resolve(), size)
    seconds = time.monotonic() - started
    others_s = ResourceUsage.now().others_since(before) - (time.process_time() - own)
    results: dict[str, Any] = {
        "date": datetime.now(tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": _command(options),
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "seconds": round(seconds),
        "others_busy_cores": round(max(0.0, others_s) / seconds, 2),
        "stages": stages,
    }
    text = report.markdown(results)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (options.out / "results.md").write_text(text, encoding="utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transformer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--release", type=Path, required=True, help="directory of the demo release")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of ten, and less certain")
    parser.add_argument("--only", nargs="+", choices=list(STAGES), help="stages to run")
    parser.add_argument("--out", type=Path, help="folder for results.json and results.md")
    return parser.parse_args(arguments)


def _command(options: argparse.Namespace) -> str:
    # Paths of this machine mean nothing to a reader.
    words = ["python -m benchmarks.transformer", "--release", options.release.name]
    words += ["--quick"] if options.quick else []
    return " ".join([*words, *(["--only", *options.only] if options.only else [])])


if __name__ == "__main__":
    sys.exit(main())
