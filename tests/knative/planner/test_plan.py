"""Plans: ranked by cost, with reasons; what binds where nothing will do; capacities that hold when simulated."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cli.__main__ import main
from knative.planner import capacity, options
from knative.planner.candidates import check_profiles, make_candidates, slice_of
from knative.planner.capacity import alone_seconds, long_text, max_throughput, pod_capacity
from knative.planner.errors import PlanError
from knative.planner.hardware.catalogue import GPUS
from knative.planner.hardware.gpus import GIB
from knative.planner.hardware.host import HostNode
from knative.planner.nearest import NEAR
from knative.planner.options import VERIFIED, band_of, find_options, judge
from knative.planner.plan import make_plan
from knative.planner.request import (
    CapacityPlan,
    CapacityRequest,
    HostLimits,
    PlanCandidate,
    ServiceWorkload,
)
from knative.profiling.model_shape import ModelShape
from knative.profiling.profile import PredictorProfile, ProfiledRelease, load_profile
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.load.workload import CacheModel, Traffic, draw_workload
from protocol.release import DecoderShape
from tests.knative.planner.requests import plan_request
from tests.knative.planner.test_gpus import SEVEN_B
from tests.knative.profiles import profile

pytestmark = pytest.mark.slow

T = TypeVar("T")
LARGE = ModelShape("67b", DecoderShape(95, 8192, 64, 8, 128, 22016, 102_400), tied=False)


def plan(
    request: CapacityRequest,
    *keys: str,
    model: ModelShape = SEVEN_B,
    parts: Sequence[str] = (),
    precision: str | None = None,
) -> CapacityPlan:
    """A plan with some GPUs, or with the slices of them and the precision that are named."""
    gpus = [GPUS[key] for key in keys or ("h200",)]
    candidates = make_candidates(model, gpus, request.max_sequence_tokens, ())
    wanted = [c for c in candidates if precision in (None, c.precision)]
    return make_plan([c for c in wanted if not parts or c.gpu_slice.name in parts], request)


@pytest.fixture(scope="module", autouse=True)
def _simulated_once() -> Iterator[None]:
    """Every pod and every service is simulated once, briefly: many tests ask for the plans of the same load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity, "REQUESTS", 1_000)
        patch.setattr(capacity, "SECONDS", 4.0)
        for name in ("pod_capacity", "whole_service"):
            patch.setattr(options, name, remembering(getattr(options, name)))
        yield


def remembering(function: Callable[..., T]) -> Callable[..., T]:
    """``function`` called once for the same arguments, some of which cannot be hashed."""
    results: dict[str, T] = {}

    def call(*args: object, **kwargs: object) -> T:
        key = repr((args, kwargs))
        if key not in results:
            results[key] = function(*args, **kwargs)
        return results[key]

    return call


@pytest.fixture(scope="module")
def usual() -> CapacityPlan:
    return plan(plan_request(qps=1500, p99_s=0.8, hit_rate=0.35), "h200", "a100-80")


def test_the_cheapest_comes_first_and_everyone_else_says_why_not(usual: CapacityPlan) -> None:
    feasible = [option for option in usual.options if option.feasible]
    assert [option.cost for option in feasible] == sorted(option.cost for option in feasible)
    assert usual.options[0].reason == ""
    assert all(option.reason for option in usual.options[1:])
    reasons = {option.candidate.label: option.reason for option in usual.options}
    assert reasons["a100-80 1g.10gb float16"].startswith("does not fit: weights 12.9 GiB")
    assert reasons["a100-80 1g.20gb float16"].startswith("too slow: a long text alone takes")
    assert reasons["h200 full float16"].startswith("costs at least")
    assert len(usual.options) == 2 * 7 * 2


def test_the_best_keeps_the_objective_when_all_of_it_is_simulated(usual: CapacityPlan) -> None:
    best = usual.options[0]
    assert best.p99_s is not None
    assert best.p99_s <= 0.8
    assert best.replicas_band is not None
    assert best.replicas_band[0] <= best.replicas <= best.replicas_band[1]


def test_the_best_says_what_goes_with_it(usual: CapacityPlan) -> None:
    assert usual.sizes is not None
    assert usual.sizes.min_replicas == usual.options[0].replicas
    assert usual.sizes.scale_target <= usual.sizes.container_concurrency
    assert usual.sizes.volume_bytes > 2 * 7.3e9
    assert usual.sizes.transformer_replicas >= 2
    # 975 misses/s of 560 bytes
    assert usual.sizes.cache_bytes_per_hour == pytest.approx(975 * 560 * 3600, rel=1e-6)


def test_a_measured_profile_of_ones_own_takes_the_place_of_a_derived_one() -> None:
    request = plan_request(qps=100, p99_s=0.8)
    own = dataclasses.replace(
        load_profile("7b-h200-3g.71gb-int8"), name="mine", kind="measured", derivation=""
    )
    candidates = make_candidates(SEVEN_B, [GPUS["h200"]], 512, (own,))
    taken = {c.label: c.profile.name for c in candidates if c.profile}
    assert taken["h200 3g.71gb int8"] == "mine"
    assert taken["h200 3g.71gb float16"] == "7b-h200-3g.71gb-float16"
    mine = [c for c in candidates if c.profile and c.profile.name == "mine"]
    assert make_plan(mine, request).options[0].feasible


def test_what_is_simulated_has_the_slots_that_are_printed() -> None:
    # few slots of 16,384 tokens fit beside the weights; the profile was measured with 128
    long_slots = make_candidates(SEVEN_B, [GPUS["h200"]], 16_384, ())
    (whole,) = (c for c in long_slots if (c.gpu_slice.name, c.precision) == ("full", "int8"))
    assert 10 < whole.slots < 20
    assert whole.profile is not None
    assert (whole.profile.slots, whole.profile.max_sequence_tokens) == (whole.slots, 16_384)


def test_a_measured_profiles_slots_are_not_exceeded() -> None:
    own = dataclasses.replace(load_profile("7b-h200-full-int8"), name="mine", slots=16)
    best = make_plan(own_candidates(own), plan_request(qps=100, p99_s=0.8))
    assert best.options[0].candidate.slots == 16
    assert best.sizes is not None
    assert best.sizes.container_concurrency == 16


def test_a_measured_profile_with_shorter_slots_is_refused() -> None:
    own = dataclasses.replace(load_profile("7b-h200-full-int8"), max_sequence_tokens=256)
    with pytest.raises(PlanError, match=r"its slots had 256 tokens, .* or give --max-tokens 256"):
        own_candidates(own)


def own_candidates(own: PredictorProfile) -> tuple[PlanCandidate, ...]:
    """The one option that a profile of one's own stands for."""
    candidates = make_candidates(SEVEN_B, [GPUS["h200"]], 512, (own,))
    return tuple(c for c in candidates if (c.gpu_slice.name, c.precision) == (own.slice, own.precision))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hardware": "NVIDIA T4"}, "the catalogue has no 'NVIDIA T4'; measure it with one of these"),
        ({"release": ProfiledRelease("", "7b", None)}, "measure it again with --release"),
        (
            {"release": ProfiledRelease("", "67b", LARGE.decoder)},
            "it is of another model, 67b; give that one as --checkpoint",
        ),
        ({"precision": "float32"}, "its precision is float32; plans have float16, int8"),
        ({"slice": "5g"}, "NVIDIA H200 has no slice 5g"),
        ({"slice": "3g.71gb"}, "plan it too, as with --gpu h200 --slice 3g.71gb --precision int8"),
    ],
)
def test_a_profile_that_no_option_takes_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str
) -> None:
    own = load_profile("7b-h200-full-int8")
    candidates = own_candidates(own)
    check_profiles((own,), candidates, SEVEN_B)
    with pytest.raises(PlanError, match=reason):
        check_profiles((dataclasses.replace(own, **changes),), candidates, SEVEN_B)


def test_a_second_profile_of_one_option_is_refused() -> None:
    own = load_profile("7b-h200-full-int8")
    with pytest.raises(PlanError, match="another --profile of the same hardware"):
        check_profiles((own, own), own_candidates(own), SEVEN_B)


def test_texts_that_a_slot_would_cut_are_refused() -> None:
    request = plan_request(qps=10, p99_s=8, traffic=Traffic(chars=1500))
    with pytest.raises(PlanError, match=r"takes 2,988 tokens.*a slot has 512: give --max-tokens 2988"):
        plan(request, parts=("full",))


def test_with_the_slots_that_are_asked_for_next_to_no_text_is_too_long() -> None:
    traffic = Traffic(chars=1500)
    work = draw_workload(
        generate_arrivals("steady:rate=100,seconds=200", 0),
        traffic,
        CacheModel(),
        max_sequence_tokens=2988,
        seed=0,
    )
    assert work.too_long.mean() < 0.002


def test_more_pods_are_tried_while_the_whole_service_misses_the_objective(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    p99s = iter([0.9, None, 0.7])
    monkeypatch.setattr(options, "service_p99", lambda _: next(p99s))
    best = plan(plan_request(qps=100, p99_s=0.8), parts=("full",), precision="int8").options[0]
    assert (best.p99_s, best.replicas, best.gpus) == (0.7, 3, 3)
    assert best.cost == pytest.approx(3 * GPUS["h200"].price)


def test_an_option_whose_whole_service_misses_the_objective_does_not_win(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options, "service_p99", lambda _: 0.9)
    impossible = plan(plan_request(qps=100, p99_s=0.8), parts=("full",), precision="int8")
    assert impossible.sizes is None
    assert impossible.options[0].reason == "too slow: with 4 pods together P99 is 900 ms"
    monkeypatch.setattr(options, "service_p99", lambda _: None)
    impossible = plan(plan_request(qps=100, p99_s=0.8), parts=("full",), precision="int8")
    assert impossible.options[0].reason == "too slow: with 4 pods together more than 1 of 100 fail"
    assert impossible.nearest is None


def test_what_cannot_be_among_the_cheapest_is_not_simulated() -> None:
    told: list[str] = []
    request = plan_request(qps=1500, p99_s=0.8, hit_rate=0.35)
    candidates = make_candidates(SEVEN_B, [GPUS["h200"], GPUS["a100-80"]], 512, ())
    ranked = find_options(candidates, request, told.append)
    skipped = [option for option in ranked if not option.judged]
    assert skipped
    third = sorted(option.cost for option in ranked if option.feasible)[VERIFIED - 1]
    for option in skipped:
        assert option.cost > third
        assert f"{option.candidate.label}: what a pod can do" not in told
        # and rightly so: its real cost is no less than the bound
        assert judge(option.candidate, request).cost >= option.cost
    assert f"{ranked[0].candidate.label}: all {ranked[0].replicas} pods" in told


def test_most_replicas_stay_within_the_gpus_that_there_are() -> None:
    request = plan_request(qps=1500, p99_s=0.8, hit_rate=0.35)
    free = plan(request, parts=("full",), precision="int8").sizes
    assert free is not None
    gpus = free.min_replicas
    assert free.max_replicas > gpus
    bound = plan(dataclasses.replace(request, max_gpus=gpus), parts=("full",), precision="int8").sizes
    assert bound is not None
    assert (bound.min_replicas, bound.max_replicas) == (gpus, gpus)


@pytest.mark.parametrize("p99_s", [0.00001, 0.005, 0.05])
def test_the_nearest_objective_depends_on_what_can_be_had_alone(p99_s: float) -> None:
    impossible = plan(plan_request(qps=1500, p99_s=p99_s), parts=("full",), precision="int8")
    alone = impossible.options[0].capacity
    assert alone is not None
    assert impossible.nearest is not None
    assert alone.alone_s < impossible.nearest.slo.p99_s < 1.2 * alone.alone_s
    shorter = impossible.nearest.with_p99(impossible.nearest.slo.p99_s / NEAR**2)
    assert not plan(shorter, parts=("full",), precision="int8").options[0].feasible


def test_few_gpus_make_the_nearest_objective_longer() -> None:
    request = plan_request(qps=1000, p99_s=0.05, max_gpus=4)
    impossible = plan(request, parts=("full",), precision="int8")
    assert impossible.nearest is not None
    assert impossible.nearest.workload.qps == 1000
    assert 0.14 < impossible.nearest.slo.p99_s < 1
    assert impossible.nearest_options[0].gpus <= 4


def test_where_neither_time_nor_gpus_are_enough_the_most_requests_are_named(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["plan", "--checkpoint", str(checkpoint), "--slice", "full", "--precision", "int8"]
    assert main([*command, "--qps", "9000", "--p99-ms", "0.05", "--max-gpus", "1"]) == 1
    shown = capsys.readouterr().out
    assert "No option meets 0.05 ms at 9000 requests/s." in shown
    assert "requests/s, the most that 1 GPU can do, within " in shown
    assert "with 1 pod on 1 GPU (h200 full int8)" in shown


def test_an_objective_below_one_texts_own_time_binds_and_the_nearest_is_named() -> None:
    impossible = plan(plan_request(qps=100, p99_s=0.05), parts=("full", "3g.71gb"))
    assert impossible.sizes is None
    assert impossible.binding.startswith("latency: a long text alone takes 1")
    assert impossible.nearest is not None
    assert 0.1 < impossible.nearest.slo.p99_s <= 0.16
    assert impossible.nearest_options[0].feasible


def test_too_few_gpus_bind_and_the_nearest_load_is_named() -> None:
    impossible = plan(plan_request(qps=10_000, p99_s=0.8, max_gpus=2), parts=("full",))
    assert impossible.binding.startswith("GPUs: ")
    assert impossible.nearest is not None
    assert 500 < impossible.nearest.workload.qps < 3000
    assert impossible.nearest_options[0].gpus <= 2


def test_slices_that_the_nodes_have_no_cpus_for_are_paid_for_and_said(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["plan", "--checkpoint", str(checkpoint), "--slice", "3g.71gb", "--precision", "int8"]
    command += ["--qps", "300", "--p99-ms", "800"]
    documents = []
    for node in ([], ["--node", "32,2000,8"]):
        assert main([*command, *node, "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out)["options"][0])
    free, scarce = documents
    assert (free["pods_per_gpu"], scarce["pods_per_gpu"]) == (2, 1)
    assert free["replicas"] == scarce["replicas"]
    assert scarce["gpus"] == scarce["replicas"]
    assert scarce["host"] == {"cpus": 4.0, "memory_bytes": 13 * 2**30}
    assert main([*command, "--node", "32,2000,8"]) == 0
    assert "the nodes of --node have room for 1 for each GPU, which could hold 2" in capsys.readouterr().out


def test_a_pod_that_no_node_holds_binds_by_the_nodes() -> None:
    small = HostLimits(HostNode(2, 64 * GIB, 1))
    candidates = make_candidates(SEVEN_B, [GPUS["h200"]], 512, (), small)
    impossible = make_plan(candidates, plan_request(qps=1, p99_s=10))
    assert impossible.binding.startswith("nodes: a pod asks for 4 CPUs and ")
    assert impossible.nearest is None
    reasons = {option.candidate.label: option.reason for option in impossible.options}
    assert reasons["h200 full int8"] == "does not fit the node: a pod asks for 8 CPUs and 13 GiB"


def test_a_gpu_that_was_never_measured_is_called_an_estimate(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "[{key: mine, name: NVIDIA Mine, memory_gib: 44, bandwidth_gb_per_s: 900, fp16_tflops: 360, price: 0.5}]",
        encoding="utf-8",
    )
    command = [
        "plan",
        "--checkpoint",
        str(checkpoint),
        "--precision",
        "int8",
        "--qps",
        "20",
        "--p99-ms",
        "2000",
    ]
    assert main([*command, "--gpu", "l40s,mine", "--gpu-file", str(own)]) == 0
    shown = capsys.readouterr().out
    assert "An estimate: Yiwen never ran on NVIDIA Mine." in shown
    assert "published figures (--gpu-file)" in shown
    assert main([*command, "--gpu", "l40s,h200", "--slice", "full", "--json"]) == 0
    kinds = {each["gpu"]: each["estimated"] for each in json.loads(capsys.readouterr().out)["options"]}
    assert kinds == {"l40s": True, "h200": False}


def test_a_model_that_fits_nowhere_binds_by_memory() -> None:
    impossible = plan(plan_request(qps=1, p99_s=10), "a100-40", model=LARGE)
    assert impossible.binding.startswith("memory: the weights take 63.")
    assert impossible.nearest is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"qps": 0}, {"qps": math.inf}, {"qps": math.nan}, {"p99_s": 0}, {"p99_s": math.inf}, {"hit_rate": 1.0},
        {"target_utilization": 0}, {"max_gpus": 0}, {"max_sequence_tokens": 1}, {"seed": -1},
    ],
)  # fmt: skip
def test_an_impossible_request_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        plan_request(**{"qps": 1.0, "p99_s": 1.0, **wrong})


def test_no_candidates_is_an_error() -> None:
    with pytest.raises(PlanError, match="name a GPU, as in --gpu h200"):
        make_plan((), plan_request(qps=1, p99_s=1))
    with pytest.raises(PlanError, match="has no slice 5g"):
        slice_of(GPUS["h200"], "5g")


SHORT = Traffic(chars=20, prompt_tokens_per_char=1.0, template_tokens=0, new_tokens_per_char=0.5)


def test_capacity_lies_below_what_busy_slots_can_do_and_grows_with_patience() -> None:
    rates = [
        pod_capacity(profile(), plan_request(qps=10, p99_s=seconds, traffic=SHORT)).rate
        for seconds in (0.5, 1.0, 5.0)
    ]
    assert (
        0
        < rates[0]
        < rates[1]
        < rates[2]
        <= 1.1 * max_throughput(profile(), ServiceWorkload(1, traffic=SHORT))
    )


def test_hits_let_the_misses_be_later() -> None:
    assert plan_request(qps=1, p99_s=1).workload.miss_percentile == pytest.approx(99.0)
    assert plan_request(qps=1, p99_s=1, hit_rate=0.5).workload.miss_percentile == pytest.approx(98.0)
    assert plan_request(qps=1, p99_s=1, hit_rate=0.995).workload.miss_percentile == 0.0


def test_a_long_text_alone_takes_its_steps() -> None:
    prompt, new = long_text(dataclasses.replace(SHORT, spread=0.0))
    assert (prompt, new) == (20, 11)
    assert alone_seconds(profile(), dataclasses.replace(SHORT, spread=0.0)) == pytest.approx(
        0.002 + 0.003 + 20 * 0.001 + 11 * 0.010
    )


def test_what_was_measured_has_the_narrower_band() -> None:
    def width(measured: PredictorProfile) -> float:
        low, high = band_of(measured)
        return high / low

    assert width(load_profile("7b-h200-full-int8")) < width(load_profile("7b-h200-3g.71gb-int8"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    document = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 30,
        "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 102_400,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path


def test_the_command_shows_a_plan_and_writes_it(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    out = checkpoint / "plan.json"
    command = [
        "plan",
        "--checkpoint",
        str(checkpoint),
        "--qps",
        "500",
        "--p99-ms",
        "800",
        "--hit-rate",
        "0.35",
    ]
    assert main([*command, "--price", "3", "--output", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "minReplicas" in shown
    assert "480 KiB of K/V per token" in shown
    assert "assumed: lengths of texts" in shown
    document = json.loads(out.read_text(encoding="utf-8"))
    assert document["options"][0]["cost_per_hour"] == 3.0
    assert document["sizes"]["min_replicas"] == document["options"][0]["replicas"]


def test_the_command_ends_with_1_and_the_nearest_plan_if_there_is_none(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--checkpoint", str(checkpoint), "--qps", "10", "--p99-ms", "10"]) == 1
    shown = capsys.readouterr().out
    assert "What binds: latency" in shown
    assert "Nearest that can be met" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpu", "v100"], "'v100' is no GPU of the catalogue: a10, a30, a100-40"),
        (["--hit-rate", "1"], "hit rate must be at least 0 and below 1"),
        (["--checkpoint", "nowhere"], "does not exist"),
        (["--profile", "nowhere.json"], "nowhere.json is no profile"),
        (["--qps", "inf"], "qps must be a number above 0"),
        (["--seed", "-1"], "seed must be at least 0"),
        (["--price", "-1"], "--price must be a number of at least 0"),
        (["--price", "nan"], "--price must be a number of at least 0"),
        (["--chars", "1500"], "give --max-tokens 2988 or more"),
        (["--profile", "7b-h200-full-int8", "--gpu", "a100-80"], "plan it too, as with --gpu h200"),
    ],
)
def test_the_command_ends_with_2_where_it_cannot_plan(
    checkpoint: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["plan", "--checkpoint", str(checkpoint), "--qps", "10", "--p99-ms", "800"]
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_pod_takes_fewer_requests_the_more_texts_they_have() -> None:
    def rate(texts: int) -> float:
        traffic = dataclasses.replace(SHORT, texts_per_request=texts)
        return pod_capacity(profile(), plan_request(10, 5.0, traffic=traffic)).rate

    one, eight = rate(1), rate(8)
    assert 0 < eight < one / 6, (one, eight)
