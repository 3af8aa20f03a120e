"""The worked example of docs/autoscaling.md is what the code computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from knative.autoscaler.annotations import revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.kpa import KPA
from knative.autoscaler.manifests import read_components
from knative.autoscaler.targets import resolve_metric_target, resolve_panic_window
from tests.knative.driver import Drive

PAGE = Path(__file__).parents[2] / "docs" / "autoscaling.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def offered(now: int) -> float:
    return 60.0 if 120 <= now < 300 else 8.0


def computed(manifest: str) -> list[list[str]]:
    """A row for each tick in which pods, wishes or the mode change, as the page has them."""
    config = AutoscalerConfig()
    (predictor,) = read_components(manifest, config)
    scaling = revision_scaling(predictor.annotations, predictor.container_concurrency, config)
    kpa = KPA(config, scaling, now=0.0, ready=1)
    drive, rows, before = Drive(kpa, offered, start_s=45, ready=1), [], None
    for now in range(360):
        ((_, ready, decision),) = drive.run(now, now + 1)
        state = (ready, decision.desired, decision.replicas, decision.panicking)
        if now % 2 or state == before:
            continue
        before = state
        stable, panic = kpa.metrics.stable_and_panic("concurrency", float(now)) or (0.0, 0.0)
        numbers = [now, f"{offered(now):g}", ready, f"{stable:.1f}", f"{panic:.1f}", decision.desired]
        last = ["yes" if decision.panicking else "no", decision.excess_burst_capacity]
        rows.append([str(cell) for cell in (*numbers, decision.replicas, *last)])
    return rows


def test_the_table_is_what_the_manifest_above_it_comes_to(page: str) -> None:
    manifest = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert manifest is not None
    table = page.partition("| second |")[2].partition("\n\n")[0]
    lines = re.findall(r"^\| (\d+ \|.*) \|$", table, re.MULTILINE)
    assert [[cell.strip() for cell in line.split("|")] for line in lines] == computed(manifest[1])


def test_the_numbers_in_the_text_are_computed_too(page: str) -> None:
    config = AutoscalerConfig()
    scaling = revision_scaling({}, 16, config)
    resolved = resolve_metric_target(scaling, config)
    assert resolved.target == pytest.approx(11.2, rel=1e-12)
    assert f"16 × 0.7 = {resolved.target:.1f}" in page
    assert f"panic window of {resolve_panic_window(scaling):.0f} s" in page
    assert 14 * resolved.total - 211 >= 0 > 13 * resolved.total - 211
    assert "14 ready pods" in page
