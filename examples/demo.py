"""`make demo`: builds the demo release, serves it, and translates the held-out titles both ways over HTTP.

Shows some translations and a summary, and keeps serving. With --once it stops there; the exit code is 1 if fewer than
95 % of the translations are exact matches.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sacrebleu
from rich.console import Console
from rich.table import Table

from cli.serve import is_ready
from cli.service import TextResult, TranslateJob, translate_all

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "examples" / "demo_model" / "checkpoint"
HELDOUT = ROOT / "examples" / "demo_model" / "heldout.tsv"
RELEASE = ROOT / "var" / "demo-release"
YIWEN = (sys.executable, "-m", "cli")

SHOWN = 6
"""Rows of the table for each language pair."""
EXPECTED_EXACT = 0.95

console = Console(soft_wrap=False)


@dataclass(frozen=True, slots=True)
class Pass:
    """Results of one pass over one language pair."""

    source: str
    target: str
    references: tuple[str, ...]
    results: tuple[TextResult, ...]
    seconds: float

    @property
    def exact(self) -> int:
        return sum(r.translation == wanted for r, wanted in zip(self.results, self.references, strict=True))

    @property
    def chrf(self) -> float:
        """chrF2 of all translations, 0 to 100 (sacrebleu's defaults)."""
        return float(
            sacrebleu.corpus_chrf([r.translation for r in self.results], [list(self.references)]).score
        )

    @property
    def hits(self) -> int:
        return sum(result.cache == "hit" for result in self.results)


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="stop after the summary")
    parser.add_argument("--port", type=int, default=8080, help="first REST port to try (8080)")
    arguments = parser.parse_args()
    build_release()
    with serving(arguments.port) as url:
        pairs = read_pairs(HELDOUT)
        passes = [translate(url, pairs, "en", "zh"), translate(url, pairs, "zh", "en")]
        again = [translate(url, pairs, "en", "zh"), translate(url, pairs, "zh", "en")]
        show_rows(passes)
        show_summary(passes, again)
        show_next_steps(url)
        if not arguments.once:
            wait_for_interrupt()
    return 0 if all(p.exact >= EXPECTED_EXACT * len(p.results) for p in passes) else 1


def build_release() -> None:
    """Build the demo release as a user would."""
    command = ["release", "build", str(CHECKPOINT), "--output", str(RELEASE), "--name", "demo", "--force"]
    shown = " ".join(command).replace(f"{ROOT}/", "")
    console.print(f"[bold]$ yiwen {shown}[/bold]")
    subprocess.run([*YIWEN, *command], check=True)


@contextmanager
def serving(first_port: int) -> Iterator[str]:
    """Run both services on free ports; gives the URL."""
    http, grpc, predictor = free_ports(first_port, 3)
    ports = ["--http-port", str(http), "--grpc-port", str(grpc), "--predictor-http-port", str(predictor)]
    console.print(f"[bold]$ yiwen serve --release var/demo-release {' '.join(ports)}[/bold]")
    started = time.monotonic()
    process = subprocess.Popen(
        [*YIWEN, "serve", "--release", str(RELEASE), *ports],
        env={**os.environ, "YIWEN_HOST": "127.0.0.1", "YIWEN_LOG_LEVEL": "warning"},
    )
    try:
        while not (is_ready(http) and is_ready(predictor)):
            if process.poll() is not None:
                sys.exit(process.returncode)
            time.sleep(0.02)
        console.print(f"ready {time.monotonic() - started:.1f} s after the start\n")
        yield f"http://127.0.0.1:{http}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def translate(url: str, pairs: Sequence[tuple[str, str]], source: str, target: str) -> Pass:
    """Translate one side of the held-out pairs over HTTP and time it."""
    texts, references = zip(*(pairs if source == "en" else [(zh, en) for en, zh in pairs]), strict=True)
    job = TranslateJob(
        url=url, model="demo", parameters={"source": source, "target": target}, batch=16, in_flight=4
    )

    async def collect() -> list[TextResult]:
        return [result async for results in translate_all(job, texts) for result in results]

    started = time.monotonic()
    results = asyncio.run(collect())
    return Pass(source, target, references, tuple(results), time.monotonic() - started)


def show_rows(passes: Sequence[Pass]) -> None:
    """Print a few translations of each language pair, evenly spread over the set."""
    table = Table(title="Some of the held-out texts, as translated over HTTP")
    for column in ("source", "translation", "confidence", "cache", "exact"):
        table.add_column(column, justify="right" if column == "confidence" else "left", overflow="fold")
    for done in passes:
        for index in range(0, len(done.results), len(done.results) // SHOWN)[:SHOWN]:
            result = done.results[index]
            exact = "yes" if result.translation == done.references[index] else "no"
            table.add_row(result.text, result.translation, f"{result.confidence:.3f}", result.cache, exact)
        table.add_section()
    console.print(table)


def show_summary(passes: Sequence[Pass], again: Sequence[Pass]) -> None:
    """Print quality and speed of the first pass, and cache hits and speed of the second."""
    table = Table(title="Summary")
    table.add_column("")
    for done in passes:
        table.add_column(f"{done.source} to {done.target}", justify="right")
    rows = {
        "segments": [f"{len(p.results)}" for p in passes],
        "exact matches": [f"{p.exact} ({100 * p.exact / len(p.results):.1f} %)" for p in passes],
        "chrF": [f"{p.chrf:.1f}" for p in passes],
        "segments/s": [f"{len(p.results) / p.seconds:.0f}" for p in passes],
        "second pass: cache hits": [f"{p.hits} ({100 * p.hits / len(p.results):.1f} %)" for p in again],
        "second pass: segments/s": [f"{len(p.results) / p.seconds:.0f}" for p in again],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    console.print(table)


def show_next_steps(url: str) -> None:
    """Print how to call the running service."""
    body = (
        '{"parameters": {"target": "zh"}, "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], '
        '"data": ["Blue cotton shirt"]}]}'
    )
    console.print(f"\nThe service answers at [bold]{url}[/bold]:\n", highlight=False)
    print(f"  curl -s {url}/v2/models/demo/infer -d '{body}'")
    command = Path(os.path.relpath(Path(sys.executable).parent / "yiwen"))
    print(f'  {command} translate --url {url} --to zh "Blue cotton shirt"\n')


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(English, Chinese) pairs of a TSV with a header line."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["en"], row["zh"]) for row in rows]


def free_ports(first: int, count: int) -> list[int]:
    """The lowest free TCP ports of this machine from ``first`` on."""
    found: list[int] = []
    for port in range(first, 65536):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    sys.exit(f"no {count} free ports from {first} on: name another with --port")


def wait_for_interrupt() -> None:
    """Keep serving until Ctrl-C or SIGTERM."""
    console.print("serving; Ctrl-C stops it")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    sys.exit(main())
