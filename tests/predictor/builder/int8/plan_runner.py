"""Runs a plan on the CPU reference, from its file alone, where graphs stand in for engines.

Built by :mod:`tests.predictor.builder.plans.graphs_as_engines`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from predictor.builder.int8.quality import EvaluatedRunner
from predictor.plan import find_plans, plan_path
from predictor.runners.reference import open_reference_runner
from predictor.runners.segmented import SegmentedRunner
from protocol.release import load_release


def plan_candidate(directory: Path) -> EvaluatedRunner:
    """Of the one plan in ``directory``; every tensor and every graph is the plan's."""
    return EvaluatedRunner(lambda: _open(directory), "plan")


def _open(directory: Path) -> SegmentedRunner:
    (plan,) = find_plans(directory)
    content = plan_path(directory, plan.key).read_bytes()
    assert plan.nbytes == len(content)
    tensors = {
        weight: np.frombuffer(
            content, tensor.dtype, tensor.nbytes // np.dtype(tensor.dtype).itemsize, tensor.offset
        ).reshape(tensor.shape)
        for weight, tensor in ((weight, plan.tensors[key]) for weight, key in plan.weights.items())
    }
    graphs = {name: content[blob.offset : blob.offset + blob.nbytes] for name, blob in plan.engines.items()}
    release = load_release(directory)
    return open_reference_runner(directory, release, slots=16, threads=1, graphs=graphs, tensors=tensors)
