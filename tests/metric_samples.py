"""Reads values from what ``GET /metrics`` answers."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families


def sample_sum(page: str, selector: str) -> float:
    """Sum of the samples that a selector selects; 0 if there are none.

    Args:
        page: in Prometheus' text format.
        selector: as in PromQL, with equality alone: ``name`` or ``name{label="value"}``.
    """
    name, _, rest = selector.partition("{")
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', rest)).items()
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and wanted <= sample.labels.items()
    )
