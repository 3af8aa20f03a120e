"""Reads the metrics of one process in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True, slots=True)
class ScrapedMetrics:
    """The metrics of one process."""

    process: str
    """Its pod, or ``predictor`` or ``transformer`` where there are no pods."""
    samples: tuple[Sample, ...]

    def matching(self, name: str, labels: Mapping[str, str]) -> Iterator[Sample]:
        """Samples of that name with these labels."""
        wanted = labels.items()
        return (s for s in self.samples if s.name == name and wanted <= s.labels.items())

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name with these labels; 0 without any."""
        return sum(sample.value for sample in self.matching(name, labels))

    def has(self, name: str) -> bool:
        """Whether there is a sample of that name."""
        return any(sample.name == name for sample in self.samples)

    def mean(self, name: str) -> float:
        """Mean of a histogram or summary since the process started; 0 without observations."""
        count = self.total(f"{name}_count")
        return self.total(f"{name}_sum") / count if count else 0.0

    def label(self, name: str, label: str) -> str:
        """A label of the first sample of that name; empty without one."""
        return next((sample.labels.get(label, "") for sample in self.matching(name, {})), "")


def read_metrics(texts: Mapping[str, str], component: str) -> tuple[ScrapedMetrics, ...]:
    """The metrics of each process of a component.

    Args:
        texts: in Prometheus' text format, by component and process, separated by ``/``.
        component: predictor or transformer.
    """
    chosen = {key: text for key, text in texts.items() if key.partition("/")[0] == component}
    return tuple(
        ScrapedMetrics(key.partition("/")[2] or key, tuple(_samples(text))) for key, text in chosen.items()
    )


def _samples(text: str) -> Iterable[Sample]:
    try:
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except ValueError:  # not Prometheus' format: something else answers at that address
        return []
