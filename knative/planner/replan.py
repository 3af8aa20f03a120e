"""Plans again with the option that an earlier plan chose, for a load that was observed since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from knative.planner.errors import PlanError
from knative.planner.hardware.catalogue import GPUS
from knative.planner.hardware.gpus import GpuModel, GpuSlice
from knative.planner.hardware.host import PodRequest
from knative.planner.options import find_options
from knative.planner.request import SLO, CapacityRequest, PlanCandidate, PlanOption, ServiceWorkload
from knative.profiling.profile import ProfileError, read_profile
from knative.simulator.errors import SimulationError
from knative.simulator.load.workload import Traffic
from protocol.kubernetes.documents import mapping


@dataclass(frozen=True, slots=True)
class PlannedBest:
    """The option that a plan chose, and what it was chosen for."""

    candidate: PlanCandidate
    request: CapacityRequest
    replicas: int
    gpus: int
    cost: float
    """Per hour."""
    p99_s: float | None

    def for_load(self, workload: ServiceWorkload) -> PlanOption:
        """The same slice, precision and objective for another load.

        Raises:
            PlanError: texts of that load cannot be planned with.
        """
        request = CapacityRequest(
            workload,
            self.request.slo,
            max_sequence_tokens=self.request.max_sequence_tokens,
            target_utilization=self.request.target_utilization,
            seed=self.request.seed,
        )
        (option,) = find_options([self.candidate], request)
        return option


def read_plan(document: Mapping[str, Any], place: str) -> PlannedBest:
    """The best option of a plan that `yiwen plan -o` wrote.

    Args:
        document: its JSON.
        place: where it is from, for messages.

    Raises:
        PlanError: it is not such a plan, or nothing was feasible.
    """
    try:
        if not mapping(document, "best_profile"):
            raise PlanError(
                f"{place} has no plan: nothing met its objective, or an older version wrote it; plan again"
            )
        return _best(document)
    except (KeyError, TypeError, AttributeError, IndexError, ProfileError, SimulationError) as error:
        raise PlanError(f"{place} is not what yiwen plan -o writes ({error}): plan again") from error


def _best(document: Mapping[str, Any]) -> PlannedBest:
    best, request = document["options"][0], document["request"]
    workload = request["workload"]
    traffic = dict(workload["traffic"])
    if isinstance(traffic["texts_per_request"], dict):  # JSON has no numbers as keys
        traffic["texts_per_request"] = {int(n): share for n, share in traffic["texts_per_request"].items()}
    profile = read_profile(document["best_profile"], "best_profile")
    pods_per_gpu, host = best["pods_per_gpu"], PodRequest(**best["host"])
    gpu, gpu_slice = _gpu(best)
    return PlannedBest(
        candidate=PlanCandidate(
            gpu=gpu,
            gpu_slice=gpu_slice,
            precision=best["precision"],
            profile=profile,
            weight_bytes=best["weight_bytes"],
            kv_bytes_per_token=best["kv_bytes_per_token"],
            slice_bytes=best["slice_bytes"],
            slots=best["slots"],
            host=host,
            pods_per_gpu=pods_per_gpu,
        ),
        request=CapacityRequest(
            ServiceWorkload(workload["qps"], workload["hit_rate"], Traffic(**traffic)),
            SLO(request["slo"]["p99_s"]),
            max_sequence_tokens=request["max_sequence_tokens"],
            target_utilization=request["target_utilization"],
            seed=request["seed"],
        ),
        replicas=best["replicas"],
        gpus=best["gpus"],
        cost=best["cost_per_hour"],
        p99_s=best["p99_s"],
    )


def _gpu(best: Mapping[str, Any]) -> tuple[GpuModel, GpuSlice]:
    """The GPU at the plan's price, and the slice; of a GPU that the catalogue lacks only what a plan needs."""
    price = best["cost_per_hour"] / best["gpus"]
    most = max(1, round(best["pods_per_gpu"]))
    gpu_slice = GpuSlice(best["slice"], 1, 1, most, most, most)
    known = GPUS.get(best["gpu"])
    name = best["gpu"] if known is None else known.name
    source = best["gpu_source"]
    return GpuModel(best["gpu"], name, 0.0, 0.0, 0.0, (gpu_slice,), price, "", source), gpu_slice
