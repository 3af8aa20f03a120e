"""A run of `yiwen translate`: sends texts, writes results in their order, and says what was found."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.journal import Journal
from cli.service import TextResult, TranslateJob, translate_all
from cli.translate_input import TextSource
from cli.translate_output import Output, Renderer
from documents.interface import TextUnit


@dataclass(slots=True)
class RunSummary:
    """Counts of a run."""

    texts: int = 0
    reused: int = 0
    """Texts whose result is that of an equal text, of this run or of an interrupted one."""
    flagged: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    """Texts by kind of flag."""
    failed: Counter[str] = field(default_factory=Counter)
    """Texts without a translation, by error code."""

    def add(self, result: TextResult) -> None:
        """Count a text."""
        self.texts += 1
        self.flagged += bool(result.flags)
        self.flags.update(result.flags)
        if result.error is not None:
            self.failed[result.error["code"]] += 1

    def lines(self, elapsed_s: float, *, is_watched: bool) -> Iterator[str]:
        """What is said at the end; how long it took only to who watches."""
        if is_watched:
            done = self.texts - self.failed.total()
            reused = f", {self.reused} of them from the journal" if self.reused else ""
            yield f"{done} of {self.texts} texts are translated{reused}; {elapsed_s:.1f} s"
        if self.flags:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.flags.most_common())
            yield f"{self.flagged} of {self.texts} texts are flagged: {kinds}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslateRun:
    """What is translated, and where results go."""

    job: TranslateJob
    source: TextSource
    renderer: Renderer
    output: Output
    journal: Journal | None
    """None where a run cannot be resumed."""
    summarizes: bool
    """Whether counts are printed at the end."""

    async def run(self) -> RunSummary:
        """Translate and write everything.

        Raises:
            TranslateError: the service refuses a text, or is not there.
            FileFormatError: a line of stdin is not text.
            OSError: the output or the journal cannot be written.
        """
        console = Console(stderr=True, soft_wrap=True)
        is_watched = console.is_terminal and self.source.total != 1
        started = time.monotonic()
        summary = RunSummary()
        with _progress(console, is_shown=is_watched) as progress:
            task = progress.add_task("translating", total=self.source.total)
            # Closed here where writing fails: when the event loop closes generators, it does not do so inside out.
            async with aclosing(self._results(summary)) as batches:
                async for results in batches:
                    self._write(results, summary, progress.console)
                    progress.advance(task, len(results))
        self.output.write(self.renderer.finish())
        self.output.commit()
        if self.journal is not None:
            self.journal.remove()
        if self.summarizes:
            for line in summary.lines(time.monotonic() - started, is_watched=is_watched):
                console.print(f"yiwen translate: {line}", markup=False, highlight=False)
        return summary

    def _write(
        self, results: list[tuple[TextUnit, TextResult]], summary: RunSummary, console: Console
    ) -> None:
        for _, result in results:
            for remark in _remarks(result):
                message = f"yiwen translate: text {summary.texts} {remark}"
                console.print(message, markup=False, highlight=False)
            summary.add(result)
        self.output.write(b"".join(self.renderer.add(result) for _, result in results))

    async def _results(self, summary: RunSummary) -> AsyncGenerator[list[tuple[TextUnit, TextResult]], None]:
        """Units with results in the order of the units: of the journal, or of the service."""
        queue: deque[tuple[TextUnit, TextResult | None]] = deque()
        """Units that are read and not yet yielded; None: the service is asked."""

        def unanswered() -> Iterator[TextUnit]:
            for unit in self.source.units:
                known = self.journal.result(unit) if self.journal is not None else None
                queue.append((unit, known))
                if known is None:
                    yield unit

        async with aclosing(translate_all(self.job, unanswered())) as batches:
            async for answers in batches:
                yield self._merged(queue, answers, summary)
        yield self._merged(queue, (), summary)

    def _merged(
        self,
        queue: deque[tuple[TextUnit, TextResult | None]],
        answers: Iterable[TextResult],
        summary: RunSummary,
    ) -> list[tuple[TextUnit, TextResult]]:
        """Take from ``queue`` what has a result, up to the first unit that waits for an answer."""
        waiting = deque(answers)
        merged: list[tuple[TextUnit, TextResult]] = []
        new: list[tuple[TextUnit, TextResult]] = []
        while queue and (queue[0][1] is not None or waiting):
            unit, known = queue.popleft()
            if known is None:
                new.append((unit, waiting[0]))
            else:
                summary.reused += 1
            merged.append((unit, known or waiting.popleft()))
        if new and self.journal is not None:
            self.journal.add(new)
        return merged


def _progress(console: Console, *, is_shown: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not is_shown)


def _remarks(result: TextResult) -> Iterator[str]:
    if result.flags:
        yield f"is flagged: {', '.join(result.flags)}"
    if result.error is not None:
        yield f"has no translation: {result.error['error']} ({result.error['code']})"
