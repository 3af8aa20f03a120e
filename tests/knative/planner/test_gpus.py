"""The catalogue of slices, the bytes of models, and whether our arithmetic is the predictor's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from knative.planner.candidates import make_candidates
from knative.planner.errors import PlanError
from knative.planner.hardware.catalogue import GPUS, MEASURED
from knative.planner.hardware.checkpoint import read_model
from knative.planner.hardware.derive import (
    BAND,
    LAUNCH_SECONDS,
    MEMORY_FRACTION,
    DerivationTarget,
    derive_profile,
    slots_that_fit,
)
from knative.planner.hardware.gpu_file import read_gpu_file
from knative.planner.hardware.gpus import GIB
from knative.planner.hardware.host import HostNode, pod_request, pods_per_gpu
from knative.profiling.model_shape import ModelShape
from knative.profiling.profile import load_profile, shipped_profiles
from predictor.config import PredictorConfig
from predictor.runners.tensorrt.start.memory import MemoryNeeds, plan_memory, slot_bytes
from protocol.release import DecoderShape

SEVEN_B = ModelShape("7b", DecoderShape(30, 4096, 32, 32, 128, 11008, 102_400), tied=False)
OTHER_BYTES = 3 * GIB // 2

PROFILES = """
a100-40   5gb*7  10gb*4 10gb*3 20gb*2 20gb*1 40gb*1
a100-80   10gb*7 20gb*4 20gb*3 40gb*2 40gb*1 80gb*1
h100      10gb*7 20gb*4 20gb*3 40gb*2 40gb*1 80gb*1
h100-nvl  12gb*7 24gb*4 24gb*3 47gb*2 47gb*1 94gb*1
gh200-96  12gb*7 24gb*4 24gb*3 48gb*2 48gb*1 96gb*1
gh200-144 18gb*7 36gb*4 36gb*3 72gb*2 72gb*1 144gb*1
h200      18gb*7 35gb*4 35gb*3 71gb*2 71gb*1 141gb*1
b200      23gb*7 45gb*4 45gb*3 90gb*2 90gb*1 180gb*1
gb200     23gb*7 47gb*4 47gb*3 93gb*2 93gb*1 186gb*1
"""
"""As mig-parted and the GPU operator have them: 1g, 1g with double memory, 2g, 3g, 4g, 7g."""
QUARTERS = """
a30          6gb*4  12gb*2 24gb*1
rtx-pro-6000 24gb*4 48gb*2 96gb*1
"""
"""1g, 2g, 4g of NVIDIA's MIG user guide."""
UNCUT = {"a10", "l4", "l40s", "rtx-6000-ada"}


@pytest.mark.parametrize("line", [*PROFILES.strip().splitlines(), *QUARTERS.strip().splitlines()])
def test_every_gpu_has_nvidias_profiles(line: str) -> None:
    key, *sizes = line.split()
    units = ("1g", "1g", "2g", "3g", "4g", "7g") if len(sizes) == 6 else ("1g", "2g", "4g")
    wanted = [f"{unit}.{size}" for unit, size in zip(units, sizes, strict=True)]
    assert [f"{gpu_slice.name}*{gpu_slice.max_per_gpu}" for gpu_slice in GPUS[key].slices[:-1]] == wanted
    assert GPUS[key].slices[-1].name == "full"


def test_every_gpu_is_in_one_of_the_tables_and_says_where_its_figures_are_from() -> None:
    cut = {line.split()[0] for line in f"{PROFILES}{QUARTERS}".strip().splitlines() if line}
    assert cut | UNCUT == set(GPUS)
    assert all(gpu.source.startswith(f"data sheet of the {gpu.name.split()[0]}") for gpu in GPUS.values())
    assert set(MEASURED) < set(GPUS)
    for key in UNCUT:
        (whole,) = GPUS[key].slices
        assert (whole.name, whole.compute_share, whole.memory_share, whole.idle_compute) == ("full", 1, 1, 0)


def test_a_count_never_exceeds_the_units_and_one_more_never_fits() -> None:
    for gpu in GPUS.values():
        for gpu_slice in gpu.slices:
            most = gpu_slice.max_per_gpu
            units = (gpu_slice.compute_slices, gpu_slice.memory_slices)
            assert most * gpu_slice.compute <= units[0]
            assert most * gpu_slice.memory <= units[1]
            assert gpu_slice.most_units <= 1
            more_compute, more_memory = (most + 1) * gpu_slice.compute, (most + 1) * gpu_slice.memory
            assert more_compute > units[0] or more_memory > units[1]


def test_memory_slices_bind_where_compute_slices_would_not() -> None:
    one, double, two, three, four, *_ = GPUS["a100-80"].slices
    assert double.idle_compute == 3  # four equal slices
    assert [gpu_slice.idle_compute for gpu_slice in (one, two, three, four)] == [0, 1, 1, 3]


def test_real_memory_is_below_nominal() -> None:
    nvl = GPUS["h100-nvl"]
    assert nvl.slice_bytes(nvl.slices[0]) <= 11008 * 2**20  # what dcgm-exporter issue 397 reports
    for gpu in GPUS.values():
        for gpu_slice in gpu.slices[:-1]:
            nominal = int(gpu_slice.name.partition(".")[2].removesuffix("gb"))
            assert gpu.slice_bytes(gpu_slice) < nominal * 1e9


def test_a_slice_is_asked_for_by_its_resource() -> None:
    assert GPUS["h200"].slices[0].resource == "nvidia.com/mig-1g.18gb"
    assert GPUS["h200"].slices[-1].resource == "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("label", "keys"),
    [
        ("NVIDIA-A100-SXM4-40GB", {"a100-40"}),
        ("NVIDIA-A100-PCIE-40GB", {"a100-40"}),
        ("A100-SXM4-40GB", {"a100-40"}),
        ("NVIDIA-A100-SXM4-80GB", {"a100-80"}),
        ("NVIDIA-A100-80GB-PCIe", {"a100-80"}),
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", {"a100-80"}),
        ("NVIDIA-H100-80GB-HBM3", {"h100"}),
        ("NVIDIA-H100-NVL", {"h100-nvl"}),
        ("NVIDIA-GH200-480GB", {"gh200-96"}),
        ("NVIDIA-GH200-144G-HBM3e", {"gh200-144"}),
        ("NVIDIA-H200", {"h200"}),
        ("NVIDIA-H200-NVL", {"h200"}),
        ("NVIDIA-B200", {"b200"}),
        ("NVIDIA-GB200", {"gb200"}),
        ("NVIDIA-L40S", {"l40s"}),
        ("NVIDIA-L4", {"l4"}),
        ("NVIDIA-L40", set()),
        ("NVIDIA-A10", {"a10"}),
        ("NVIDIA-A10G", set()),  # less arithmetic
        ("NVIDIA-A30", {"a30"}),
        ("NVIDIA-A30-MIG-1g.6gb", {"a30"}),
        ("NVIDIA-RTX-6000-Ada-Generation", {"rtx-6000-ada"}),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", {"rtx-pro-6000"}),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Workstation-Edition", set()),  # more bandwidth
        ("NVIDIA-H100-PCIe", set()),  # HBM2e: other bandwidth than the H100 of the catalogue
    ],
)
def test_a_nodes_label_tells_its_gpu(label: str, keys: set[str]) -> None:
    assert {gpu.key for gpu in GPUS.values() if gpu.is_product(label)} == keys


def test_weights_of_the_7b_model_are_those_that_were_measured() -> None:
    # docs/benchmarks/gpu: plans of 13,823.0 and 7,341.2 MB, 12,982,370,304 and 6,500,005,888 bytes read per step
    assert SEVEN_B.weight_bytes("float16") == pytest.approx(13_823.0e6, rel=0.002)
    assert SEVEN_B.weight_bytes("int8") == pytest.approx(7_341.2e6, rel=0.003)
    assert SEVEN_B.read_bytes("float16") == pytest.approx(12_982_370_304, rel=0.002)
    assert SEVEN_B.read_bytes("int8") == pytest.approx(6_500_005_888, rel=0.003)
    assert SEVEN_B.kv_bytes_per_token * 256 == 125_829_120


def test_slots_are_counted_as_the_predictor_counts_them() -> None:
    assert PredictorConfig(release=Path()).gpu_memory_fraction == MEMORY_FRACTION
    shape = SEVEN_B.decoder
    per_slot = slot_bytes(layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, capacity=512)
    gpu = GPUS["h200"]
    for gpu_slice in (gpu_slice for gpu_slice in gpu.slices if gpu_slice.compute >= 2):
        total = gpu.slice_bytes(gpu_slice)
        needs = MemoryNeeds(weights=SEVEN_B.weight_bytes("int8"), scratch=OTHER_BYTES, buffers=0)
        planned = plan_memory(
            free=total, total=total, fraction=MEMORY_FRACTION, needs=needs, bytes_per_slot=per_slot,
            wanted_slots=10_000,
        )  # fmt: skip
        assert (
            slots_that_fit(DerivationTarget(gpu, gpu_slice, SEVEN_B), "int8", OTHER_BYTES, 512)
            == planned.slots
        )


def test_67_billion_parameters_fit_no_slice_and_no_v100() -> None:
    # DeepSeek-LLM-67B: 95 layers, 8192 wide, 8 K/V heads
    large = ModelShape("67b", DecoderShape(95, 8192, 64, 8, 128, 22016, 102_400), tied=False)
    assert large.parameters == pytest.approx(67.4e9, rel=0.01)
    gpu = GPUS["a100-80"]
    assert not any(
        slots_that_fit(DerivationTarget(gpu, p, large), "int8", OTHER_BYTES, 512) for p in gpu.slices[:-2]
    )
    assert large.weight_bytes("int8") > 32e9  # a V100's memory, twice over
    assert large.weight_bytes("int8") // 2 > 32e9  # and in four bits still


def config(tmp_path: Path, **changes: object) -> Path:
    document = {
        "architectures": ["Qwen3ForCausalLM"], "hidden_size": 1024, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
        "vocab_size": 151_936, "tie_word_embeddings": True, **changes,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path


def test_a_checkpoints_config_gives_its_shape(tmp_path: Path) -> None:
    model = read_model(config(tmp_path))
    assert model.decoder == DecoderShape(28, 1024, 16, 8, 128, 3072, 151_936)
    assert model.tied
    assert model.parameters == pytest.approx(0.596e9, rel=0.01)
    assert read_model(tmp_path / "config.json") == model


def test_what_a_config_leaves_out_is_hugging_faces_default(tmp_path: Path) -> None:
    path = config(tmp_path, num_key_value_heads=None, head_dim=None, tie_word_embeddings=None)
    model = read_model(path)
    assert (model.decoder.kv_heads, model.decoder.head_dim, model.tied) == (16, 64, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["MixtralForCausalLM"]},
            "names MixtralForCausalLM; Yiwen serves LlamaForCausalLM",
        ),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, it must be at least 1"),
    ],
)
def test_a_config_that_cannot_be_planned_says_why(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        read_model(config(tmp_path, **changes))


def test_no_config_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="does not exist: give a checkpoint's config"):
        read_model(tmp_path / "config.json")


def target(key: str, gpu_slice: str) -> DerivationTarget:
    gpu = GPUS[key]
    return DerivationTarget(gpu, next(p for p in gpu.slices if p.name == gpu_slice), SEVEN_B)


@pytest.mark.parametrize(
    "name", [name for name in shipped_profiles() if load_profile(name).kind == "derived"]
)
def test_shipped_derived_profiles_are_what_the_rules_give(name: str) -> None:
    shipped = load_profile(name)
    reference = load_profile(f"7b-h200-full-{shipped.precision}")
    key = next(gpu.key for gpu in GPUS.values() if gpu.name == shipped.hardware)
    to = target(key, shipped.slice)
    slots = min(reference.slots, slots_that_fit(to, shipped.precision, reference.memory.other_bytes, 512))
    derived = derive_profile(reference, target("h200", "full"), to, slots=slots, max_sequence_tokens=512)
    assert derived == shipped


def test_reading_takes_as_much_longer_as_a_slice_has_less_bandwidth() -> None:
    reference, on = load_profile("7b-h200-full-float16"), target("h200", "full")
    for gpu_slice, slower in (("4g.71gb", 2.0), ("3g.71gb", 7 / 3), ("2g.35gb", 4.0), ("1g.35gb", 7.0)):
        derived = derive_profile(reference, on, target("h200", gpu_slice), slots=64, max_sequence_tokens=512)
        for count in (1, 8, 64):
            launches = 30 * LAUNCH_SECONDS
            reading, before = (p.step_seconds(count, 256) - launches for p in (derived, reference))
            assert reading / before == pytest.approx(slower, rel=0.01)
        assert derived.kind == "derived"


def test_a_model_of_half_the_bytes_takes_half_the_time() -> None:
    reference, on = load_profile("7b-h200-full-float16"), target("h200", "full")
    shape = DecoderShape(15, 4096, 32, 32, 128, 11008, 51_200)
    half = ModelShape("half", shape, tied=False)
    derived = derive_profile(
        reference, on, DerivationTarget(on.gpu, on.gpu_slice, half), slots=32, max_sequence_tokens=512
    )
    assert derived.step_seconds(8, 256) == pytest.approx(reference.step_seconds(8, 256) / 2, rel=0.01)
    assert derived.prefill_seconds_per_token == pytest.approx(
        reference.prefill_seconds_per_token / 2, rel=0.01
    )
    assert derived.release.id == ""


FIGURES = Path(__file__).parents[3] / "docs" / "benchmarks" / "gpu"


def bytes_and_launches(measured: dict[str, Any]) -> float:
    """What the step of one sequence should take by its weights' bytes and the layers' launches, of what it took."""
    reading = SEVEN_B.read_bytes(measured["precision"]) / measured["copy_bytes_per_s"]
    return float((reading + 30 * LAUNCH_SECONDS) / measured["steps"]["1"]["seconds"])


def test_the_measured_step_of_one_sequence_is_its_bytes_and_its_launches() -> None:
    runs = json.loads((FIGURES / "2026-11-24-h200-decode.json").read_text(encoding="utf-8"))
    for run in runs.values():
        for measured in run.values():
            assert bytes_and_launches(measured) == pytest.approx(1, rel=0.05)


def test_four_days_later_on_two_gpus_it_was_so_in_float16_and_less_so_in_int8() -> None:
    runs = json.loads((FIGURES / "2026-11-28-profiles.json").read_text(encoding="utf-8"))
    ratios = {
        (gpu, precision): bytes_and_launches(run["decode"][precision])
        for gpu, run in runs.items()
        for precision in ("float16", "int8")
    }
    assert ratios == {
        ("h100", "float16"): pytest.approx(0.995, abs=0.005),
        ("h200", "float16"): pytest.approx(1.024, abs=0.005),
        ("h100", "int8"): pytest.approx(1.078, abs=0.005),
        ("h200", "int8"): pytest.approx(1.054, abs=0.005),
    }


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_h100_as_derived_is_near_the_h100_as_measured(precision: str) -> None:
    reference, measured = (load_profile(f"7b-{gpu}-full-{precision}") for gpu in ("h200", "h100"))
    derived = derive_profile(
        reference, target("h200", "full"), target("h100", "full"), slots=128, max_sequence_tokens=512
    )
    ratios = {
        (count, context_tokens): derived.step_seconds(count, context_tokens)
        / measured.step_seconds(count, context_tokens)
        for count in measured.step.slots
        for context_tokens in measured.step.context_tokens
    }
    assert min(ratios.values()) > 0.98
    assert max(ratios.values()) < 1.17
    assert all(0.98 < ratio < 1.03 for (count, _), ratio in ratios.items() if count <= 8)
    assert derived.prefill_step_seconds == pytest.approx(measured.prefill_step_seconds, rel=0.03)
    prefill = derived.prefill_seconds_per_token / measured.prefill_seconds_per_token
    assert 0.91 < prefill < 1.0
    assert BAND[0] < min(*ratios.values(), prefill)
    assert max(ratios.values()) < BAND[1]


def test_a_gpu_that_was_measured_is_planned_with_what_was_measured() -> None:
    candidates = {
        (candidate.gpu_slice.name, candidate.precision): candidate.profile
        for candidate in make_candidates(SEVEN_B, [GPUS["h100"]], 512, ())
    }
    assert candidates["full", "int8"] == load_profile("7b-h100-full-int8")
    half = candidates["3g.40gb", "int8"]
    assert half is not None
    assert half.kind == "derived"
    assert "from 7b-h100-full-int8" in half.derivation


OWN = """
- key: l20
  name: NVIDIA L20
  memory_gib: 44.3
  bandwidth_gb_per_s: 864
  fp16_tflops: 119.5
  price: 1
- key: half
  name: NVIDIA A30X
  memory_gib: 23.5
  bandwidth_gb_per_s: 1223
  fp16_tflops: 165
  compute_slices: 4
  memory_slices: 4
  slices:
    1g.6gb: {compute: 1, memory: 1, most: 4}
"""


def own_gpus(tmp_path: Path, text: str = OWN) -> Path:
    (tmp_path / "gpus.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "gpus.yaml"


def test_gpus_of_ones_own_are_read_from_a_file(tmp_path: Path) -> None:
    gpus = read_gpu_file(own_gpus(tmp_path))
    assert [(key, [each.name for each in gpu.slices]) for key, gpu in gpus.items()] == [
        ("l20", ["full"]), ("half", ["1g.6gb", "full"]),
    ]  # fmt: skip
    assert gpus["l20"].is_product("NVIDIA-L20")
    assert (gpus["l20"].bandwidth, gpus["l20"].flops) == (864e9, 119.5e12)
    assert gpus["half"].slices[0].memory_share == 0.25


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("key: half", "key: l20", "two GPUs with the key l20"),
        ("key: half", "key: Half A", r"gpus.yaml\[1\].key must be text that matches"),
        ("  fp16_tflops: 119.5\n", "", r"gpus.yaml\[0\].fp16_tflops is missing: add it"),
        ("fp16_tflops: 119.5", "tflops: 119.5", "unknown field tflops"),
        ("memory_gib: 44.3", "memory_gib: 0", r"memory_gib is 0, it must be above 0"),
        ("most: 4", "most: 5", "half: 5 of 1g.6gb do not fit on a GPU with 4 compute slices and 4"),
        ("1g.6gb:", "small:", "'small', which is no name of a MIG profile"),
        ("price: 1", "product: '('", "is no regular expression"),
        (OWN, "[]", "has no GPU: give a list of them"),
        (OWN, "- [", "cannot be read"),
    ],
    ids=str,
)
def test_a_gpu_file_that_is_wrong_says_what(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_gpu_file(own_gpus(tmp_path, OWN.replace(before, after)))


def test_pods_for_each_gpu_are_what_slices_cpus_and_memory_leave() -> None:
    small = GPUS["a100-80"].slices[0]
    pod = pod_request(small, weight_bytes=2 * GIB)
    assert (pod.cpus, pod.memory_bytes) == (4.0, 8 * GIB)
    assert pods_per_gpu(small, pod, None) == 7
    assert pods_per_gpu(small, pod, HostNode(256, 2048 * GIB, 8)) == 7
    assert pods_per_gpu(small, pod, HostNode(96, 1152 * GIB, 8)) == 3  # the usual 12 CPUs for each A100
    assert pods_per_gpu(small, pod, HostNode(96, 64 * GIB, 8)) == 1
    assert pods_per_gpu(small, pod, HostNode(3, 1152 * GIB, 8)) == 0
    whole = GPUS["a100-80"].slices[-1]
    assert pods_per_gpu(whole, pod_request(whole, 0), HostNode(32, 512 * GIB, 8)) == 0.5
    with pytest.raises(PlanError, match="give --node CPUS,GIB,GPUS"):
        HostNode(0, GIB, 1)
