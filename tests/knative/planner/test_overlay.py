"""A plan becomes an overlay that builds, and that says what was planned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from cli.__main__ import main
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.manifests import read_components
from knative.planner.candidates import make_candidates
from knative.planner.errors import PlanError
from knative.planner.hardware.catalogue import GPUS
from knative.planner.overlay import PATCH_FILE, overlay_files
from knative.planner.plan import make_plan
from knative.planner.request import CapacityPlan
from knative.simulator.scenarios.manifest_file import read_manifest
from tests.knative.planner.requests import plan_request
from tests.knative.planner.test_gpus import SEVEN_B

BELOW = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: yiwen
spec:
  transformer:
    minReplicas: 1
    containers: [{name: kserve-container, image: example.org/transformer}]
  predictor:
    minReplicas: 1
    containers:
    - name: kserve-container
      image: example.org/predictor
      env:
      - {name: YIWEN_RELEASE, value: /mnt/models}
      - {name: YIWEN_SLOTS, value: "8"}
      resources:
        limits: {cpu: "8", nvidia.com/gpu: "1"}
"""


@pytest.fixture(scope="module")
def planned() -> CapacityPlan:
    request = plan_request(qps=1500, p99_s=0.8, hit_rate=0.35)
    candidates = make_candidates(SEVEN_B, [GPUS["h200"]], 512, ())
    return make_plan([c for c in candidates if (c.gpu_slice.name, c.precision) == ("full", "int8")], request)


def test_what_was_planned_is_patched_and_nothing_else(planned: CapacityPlan) -> None:
    files = overlay_files(planned, BELOW, "../production")
    overlay = yaml.safe_load(files["kustomization.yaml"])
    assert overlay["resources"] == ["../production"]
    (patch,) = overlay["patches"]
    assert patch == {"target": {"kind": "InferenceService", "name": "yiwen"}, "path": PATCH_FILE}
    values = {operation["path"]: operation["value"] for operation in yaml.safe_load(files[PATCH_FILE])}
    assert planned.sizes is not None
    assert values["/spec/predictor/minReplicas"] == planned.options[0].replicas
    assert values["/spec/predictor/containers/0/env/1"] == {"name": "YIWEN_SLOTS", "value": "128"}
    assert values["/spec/predictor/annotations"] == {}
    utilization = "/spec/predictor/annotations/autoscaling.knative.dev~1target-utilization-percentage"
    assert values[utilization] == "100"
    assert values["/spec/transformer/containers/0/env"] == [
        {"name": "YIWEN_PREDICTOR_GROUP_SIZE", "value": "1"}
    ]
    assert len(values) == 10


def test_another_slice_below_is_refused(planned: CapacityPlan) -> None:
    below = BELOW.replace("nvidia.com/gpu", "nvidia.com/mig-1g.10gb")
    with pytest.raises(PlanError, match=r"asks for nvidia.com/mig-1g.10gb, the plan is for nvidia.com/gpu"):
        overlay_files(planned, below, "..")
    with pytest.raises(PlanError, match="asks for no GPU"):
        overlay_files(planned, BELOW.replace(', nvidia.com/gpu: "1"', ""), "..")


def changes(planned: CapacityPlan, below: str) -> dict[str, object]:
    """What is patched, by path."""
    operations = yaml.safe_load(overlay_files(planned, below, "..")[PATCH_FILE])
    return {operation["path"]: operation["value"] for operation in operations}


def test_transformers_may_be_as_many_as_the_load_takes(planned: CapacityPlan) -> None:
    assert planned.sizes is not None
    most, path = planned.sizes.transformer_max_replicas, "/spec/transformer/maxReplicas"
    assert most > planned.sizes.transformer_replicas >= 2
    transformer = "transformer:\n    minReplicas: 1"
    below = BELOW.replace(transformer, f"{transformer}\n    maxReplicas: 2")
    assert changes(planned, below)[path] == most
    assert path not in changes(planned, below.replace("maxReplicas: 2", "maxReplicas: 50"))
    assert path not in changes(planned, below.replace("maxReplicas: 2", "maxReplicas: 0"))  # no limit


def test_slots_are_set_where_the_overlay_does_not_set_them(planned: CapacityPlan) -> None:
    entry = {"name": "YIWEN_SLOTS", "value": "128"}
    below = BELOW.replace('      - {name: YIWEN_SLOTS, value: "8"}\n', "")
    assert changes(planned, below)["/spec/predictor/containers/0/env/-"] == entry
    below = below.replace("      env:\n      - {name: YIWEN_RELEASE, value: /mnt/models}\n", "")
    assert changes(planned, below)["/spec/predictor/containers/0/env"] == [entry]


def test_the_transformers_groups_follow_the_slots(planned: CapacityPlan) -> None:
    changed = [
        value for path, value in changes(planned, BELOW).items() if "/transformer/containers/0/env" in path
    ]
    entries = [entry for value in changed for entry in (value if isinstance(value, list) else [value])]
    assert {"name": "YIWEN_PREDICTOR_GROUPS_IN_FLIGHT", "value": "129"} in entries


QUOTA = """
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: gpu}
spec:
  hard: {requests.nvidia.com/gpu: "%s"}
"""


def test_a_quota_below_the_most_replicas_is_refused(planned: CapacityPlan) -> None:
    assert planned.sizes is not None
    most = planned.sizes.max_replicas
    overlay_files(planned, BELOW + QUOTA % most, "..")
    overlay_files(planned, BELOW + (QUOTA % 1).replace("nvidia.com/gpu", "nvidia.com/mig-1g.10gb"), "..")
    message = rf"allows {most - 1} of nvidia.com/gpu, .* are {most}: .* with --max-gpus {most - 1}"
    with pytest.raises(PlanError, match=message):
        overlay_files(planned, BELOW + QUOTA % (most - 1), "..")
    with pytest.raises(PlanError, match=rf"raise requests.nvidia.com/gpu to {most} or more$"):
        overlay_files(planned, BELOW + QUOTA % 0, "..")
    with pytest.raises(PlanError, match="'2k'; write a whole number"):
        overlay_files(planned, BELOW + QUOTA % "2k", "..")


def on_nodes(*products: str) -> str:
    """The overlay below with a node affinity."""
    values = ", ".join(products)
    return BELOW + (
        "    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: ["
        f"{{matchExpressions: [{{key: nvidia.com/gpu.product, operator: In, values: [{values}]}}]}}]}}}}}}\n"
    )


def test_another_gpu_below_is_refused(planned: CapacityPlan) -> None:
    overlay_files(planned, on_nodes("NVIDIA-H200", "NVIDIA-H200-NVL"), "..")
    message = "may run on NVIDIA-H100-80GB-HBM3 .* the plan is for NVIDIA H200: give an overlay whose"
    for products in (["NVIDIA-H100-80GB-HBM3"], ["NVIDIA-H200", "NVIDIA-H100-80GB-HBM3"]):
        with pytest.raises(PlanError, match=message):
            overlay_files(planned, on_nodes(*products), "..")
    selector = "    nodeSelector: {nvidia.com/gpu.product: NVIDIA-GH200-144G-HBM3e}\n"
    with pytest.raises(PlanError, match="may run on NVIDIA-GH200-144G-HBM3e"):
        overlay_files(planned, BELOW + selector, "..")


def test_an_overlay_without_a_transformer_is_refused(planned: CapacityPlan) -> None:
    with pytest.raises(PlanError, match="with a predictor and a transformer"):
        overlay_files(planned, BELOW.replace("  transformer:", "  explainer:"), "..")


def test_an_overlay_without_a_predictor_is_refused(planned: CapacityPlan) -> None:
    with pytest.raises(PlanError, match="has no InferenceService with a predictor"):
        overlay_files(planned, "kind: ConfigMap\n", "..")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl to build overlays with")
def test_the_command_writes_an_overlay_that_builds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below, out = tmp_path / "below", tmp_path / "planned"
    below.mkdir()
    (below / "service.yaml").write_text(BELOW, encoding="utf-8")
    (below / "kustomization.yaml").write_text("resources: [service.yaml]\n", encoding="utf-8")
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 30,
        "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 102_400,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    command = [
        "plan",
        "--checkpoint",
        str(tmp_path),
        "--qps",
        "1500",
        "--p99-ms",
        "800",
        "--hit-rate",
        "0.35",
    ]
    command += ["--slice", "full", "--precision", "int8", "--write", str(out)]
    assert main(command) == 2
    assert "--write needs --on" in capsys.readouterr().err
    assert main([*command, "--on", str(below)]) == 0
    components = {c.role: c for c in read_components(read_manifest(out), AutoscalerConfig())}
    predictor = components["predictor"]
    assert predictor.annotations["autoscaling.knative.dev/min-scale"] in ("2", "3")
    assert predictor.container_concurrency == 128
    assert predictor.annotations["autoscaling.knative.dev/target-utilization-percentage"] == "100"
