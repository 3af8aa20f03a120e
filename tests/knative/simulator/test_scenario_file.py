"""Scenarios from YAML: manifests, canaries, timeouts, profiles of other releases, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from knative.profiling.profile import PredictorProfile, ProfiledRelease
from knative.simulator.errors import SimulationError
from knative.simulator.scenarios.scenario import Scenario
from knative.simulator.scenarios.scenario_file import load_scenario, read_scenario
from tests.knative.approx import approx
from tests.knative.profiles import profile

MANIFEST = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: yiwen
  annotations:
    serving.kserve.io/deploymentMode: Knative
spec:
  transformer:
    minReplicas: 2
    containers: [{name: kserve-container, image: example.org/yiwen-transformer}]
  predictor:
    minReplicas: 1
    maxReplicas: 8
    containerConcurrency: 4
    timeout: 20
    containers: [{name: kserve-container, image: example.org/yiwen-predictor}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.yaml").write_text(MANIFEST, encoding="utf-8")
    for made in (profile(), profile(name="new", slots=2)):
        save(tmp_path, made)
    return tmp_path


def save(folder: Path, made: PredictorProfile) -> None:
    (folder / f"{made.name}.json").write_text(json.dumps(made.to_json()), encoding="utf-8")


def read(folder: Path, **fields: object) -> Scenario:
    document = {"manifest": "manifest.yaml", "profile": "tiny.json", **fields}
    return read_scenario(document, "scenario", folder, name="test")


def test_the_manifest_says_how_both_services_scale(folder: Path) -> None:
    scenario = read(folder)
    (predictor,) = scenario.predictors
    assert (predictor.scaling.min_scale, predictor.scaling.max_scale) == (1, 8)
    assert predictor.scaling.container_concurrency == 4
    assert predictor.cold_start.start_seconds == 5.0  # the profile's
    assert scenario.transformer is not None
    assert scenario.transformer.scaling.min_scale == 2
    assert scenario.timeout_s == 20.0  # the predictor's timeout, shorter than a caller's patience


def test_everything_else_may_be_said_in_the_file(folder: Path) -> None:
    scenario = read(
        folder, slots=2, slices=7, initial_pods=3, slo_ms=500, timeout_s=5, price_per_slice_hour=1.5,
        pod_failures=[10], traffic={"chars": 100}, cache={"kind": "zipf", "texts": 50, "exponent": 0.9, "ttl_s": 60},
        cold_start={"schedule_seconds": 2, "pull_seconds": 30}, transformer={"hit_seconds": 0.001}, seed=4,
    )  # fmt: skip
    (predictor,) = scenario.predictors
    assert (predictor.slots, predictor.initial_pods, predictor.cold_start.total) == (2, 3, 37.0)
    assert (scenario.slices, scenario.slo_s, scenario.timeout_s, scenario.pod_failures) == (
        7,
        0.5,
        5.0,
        (10.0,),
    )
    assert (scenario.traffic.chars, scenario.cache.texts, scenario.cache.ttl_s) == (100.0, 50, 60.0)


def test_a_canary_of_the_manifest_takes_another_profile(folder: Path) -> None:
    text = MANIFEST.replace("maxReplicas: 8", "maxReplicas: 8\n    canaryTrafficPercent: 20")
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")
    stable, canary = read(folder, canary={"profile": "new.json"}).predictors
    assert (stable.profile.name, canary.profile.name) == ("tiny", "new")
    assert (stable.share, canary.share) == (approx(0.8), approx(0.2))


def test_a_canary_may_be_tried_without_touching_the_manifest(folder: Path) -> None:
    stable, canary = read(folder, canary={"profile": "new.json", "percent": 5}).predictors
    assert canary.share == pytest.approx(0.05)
    assert read(folder, canary={"percent": 0}).predictors == (stable.__class__(**_whole(stable)),)


def _whole(stable: Any) -> dict[str, Any]:
    return {name: getattr(stable, name) for name in stable.__slots__} | {"share": 1.0}


def test_the_clusters_configmap_counts(folder: Path) -> None:
    (folder / "config.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-autoscaler}\ndata: {stable-window: 30s}\n",
        encoding="utf-8",
    )
    assert read(folder, autoscaler="config.yaml").predictors[0].scaling.window == 30.0


def test_a_file_names_others_relative_to_itself(folder: Path) -> None:
    (folder / "mine.yaml").write_text("manifest: manifest.yaml\nprofile: tiny.json\n", encoding="utf-8")
    assert load_scenario(folder / "mine.yaml").name == "mine"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"release": "fedcba9876543210"},
            "profile tiny is of release 0123456789abcdef, not of fedcba9876543210",
        ),
        ({"slots": 9}, "9 slots are more than the 4 of the profile tiny"),
        ({"slice": 3}, "has the unknown field slice"),
        ({"losses": [3]}, "scenario has the unknown field losses, did you mean pod_failures"),
        ({"initial": 3}, "scenario has the unknown field initial, did you mean initial_pods"),
        ({"manifest": "none.yaml"}, "does not exist: give an InferenceService's YAML"),
        ({"profile": "none"}, "none is no profile"),
        ({"traffic": {"chars": 0}}, "traffic: chars must be at least 1"),
        ({"traffic": {"words": 3}}, "scenario.traffic has the unknown field words"),
        ({"cache": {"kind": "zipf", "exponent": "steep"}}, "scenario.cache.exponent must be a number"),
        ({"slo_ms": -1}, "scenario.slo_ms is -1"),
        ({"slo_ms": float("nan")}, "scenario.slo_ms must be a finite number"),
        ({"slo_ms": 10**400}, "scenario.slo_ms must be a finite number"),
        ({"traffic": {"chars": 1e30}}, "traffic: chars must be at most 1,000,000"),
        ({"canary": {"percent": 5, "release": "fedcba9876543210"}}, "profile tiny is of release 0123"),
        ({"canary": {"percent": 101}}, "canary.percent is 101, it must be from 0 to 100"),
    ],
)
def test_what_makes_no_sense_is_said_with_the_field(
    folder: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(SimulationError, match=message):
        read(folder, **fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MANIFEST.replace("maxReplicas: 8", "scaleTarget: 0"), "predictor.*target"),
        (
            MANIFEST.replace(
                "Knative\n", "Knative\n    autoscaling.knative.dev/class: hpa.autoscaling.knative.dev\n"
            ),
            r"yiwen-predictor: class hpa\.autoscaling\.knative\.dev is not Knative's own",
        ),
        ("kind: Deployment\n", "no InferenceService"),
        (MANIFEST.replace("  predictor:", "  predictors:"), "has no predictor"),
    ],
)
def test_a_manifest_that_cannot_be_simulated_says_why(folder: Path, text: str, message: str) -> None:
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SimulationError, match=message):
        read(folder)


def test_a_manifest_without_annotations_gets_knatives_defaults(folder: Path) -> None:
    bare = MANIFEST.replace("  annotations:\n    serving.kserve.io/deploymentMode: Knative\n", "")
    bare = bare.replace("    containerConcurrency: 4\n", "").replace("    maxReplicas: 8\n", "")
    (folder / "manifest.yaml").write_text(bare, encoding="utf-8")
    scaling = read(folder).predictors[0].scaling
    assert (scaling.container_concurrency, scaling.max_scale, scaling.window) == (0, 0, 60.0)
    assert scaling.target is None


def test_a_cache_without_a_transformer_is_refused(folder: Path) -> None:
    lines = MANIFEST.splitlines()
    start = lines.index("  transformer:")
    (folder / "manifest.yaml").write_text("\n".join(lines[:start] + lines[start + 3 :]), encoding="utf-8")
    assert read(folder).transformer is None
    with pytest.raises(SimulationError, match="a cache needs a transformer"):
        read(folder, cache={"kind": "rate", "rate": 0.5})


def test_an_overlay_is_built_with_kubectl_where_there_is_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay = folder / "overlay"
    overlay.mkdir()
    shutil.move(folder / "manifest.yaml", overlay / "manifest.yaml")
    (overlay / "kustomization.yaml").write_text("resources: [manifest.yaml]\n", encoding="utf-8")
    if shutil.which("kubectl"):
        assert read(folder, manifest="overlay").predictors[0].scaling.max_scale == 8
        (overlay / "kustomization.yaml").write_text("resources: [none.yaml]\n", encoding="utf-8")
        with pytest.raises(SimulationError, match=r"kubectl kustomize .* failed"):
            read(folder, manifest="overlay")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(SimulationError, match=r"run `kubectl kustomize .* > built.yaml` where there is one"):
        read(folder, manifest="overlay")


def with_limit(resource: str) -> str:
    image = "image: example.org/yiwen-predictor"
    return MANIFEST.replace(image, f'{image}, resources: {{limits: {{cpu: 4, {resource}: "1"}}}}')


@pytest.mark.parametrize(
    ("resource", "of_profile"),
    [("nvidia.com/gpu", "full"), ("nvidia.com/mig-1g.10gb", "1g.10gb"), ("example.org/tpu", "full")],
)
def test_a_profile_of_the_manifests_slice_is_taken(folder: Path, resource: str, of_profile: str) -> None:
    (folder / "manifest.yaml").write_text(with_limit(resource), encoding="utf-8")
    save(folder, profile(slice=of_profile))
    assert read(folder).predictors[0].profile.slice == of_profile


@pytest.mark.parametrize(
    ("resource", "of_profile", "message"),
    [
        ("nvidia.com/gpu", "1g.10gb", r"a whole GPU, or a manifest whose limit is nvidia\.com/mig-1g\.10gb"),
        ("nvidia.com/mig-1g.10gb", "full", r"slice 1g\.10gb, or a manifest whose limit is nvidia\.com/gpu"),
        (
            "nvidia.com/mig-1g.10gb",
            "1g.20gb",
            r"asks for nvidia\.com/mig-1g\.10gb, profile tiny is of slice 1g\.20gb",
        ),
    ],
)
def test_a_profile_of_another_slice_is_refused(
    folder: Path, resource: str, of_profile: str, message: str
) -> None:
    (folder / "manifest.yaml").write_text(with_limit(resource), encoding="utf-8")
    save(folder, profile(slice=of_profile))
    with pytest.raises(SimulationError, match=message):
        read(folder)


def test_a_model_server_and_a_knative_service_ask_for_slices_too(folder: Path) -> None:
    limits = 'resources: {limits: {nvidia.com/gpu: "1"}}'
    container = "containers: [{name: kserve-container, image: example.org/yiwen-predictor}]"
    served = MANIFEST.replace(container, f"model: {{modelFormat: {{name: yiwen}}, {limits}}}")
    alone = (
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: alone}\n"
        f"spec: {{template: {{spec: {{containers: [{{image: example.org/predictor, {limits}}}]}}}}}}\n"
    )
    save(folder, profile(slice="1g.10gb"))
    for text in (served, alone, f"kind: List\nitems: [{json.dumps(yaml.safe_load(alone))}]\n"):
        (folder / "manifest.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(SimulationError, match="give the profile of a whole GPU"):
            read(folder)


def test_a_canary_may_be_on_another_slice_than_the_manifest(folder: Path) -> None:
    (folder / "manifest.yaml").write_text(with_limit("nvidia.com/gpu"), encoding="utf-8")
    save(folder, profile(name="new", slots=2, slice="1g.10gb"))
    assert len(read(folder, canary={"profile": "new.json", "percent": 5}).predictors) == 2
    with pytest.raises(SimulationError, match="profile new is of slice"):
        read(folder, canary={"profile": "new.json", "percent": 100})


@pytest.mark.parametrize("percent", [5, 100])
def test_a_canary_starts_as_fast_as_its_own_profile(folder: Path, percent: int) -> None:
    save(folder, profile(name="new", slots=2, start_seconds=9.0))
    canary = {"profile": "new.json", "percent": percent}
    predictors = read(folder, slots=3, canary=canary).predictors
    assert predictors[-1].cold_start.start_seconds == 9.0
    assert predictors[-1].slots == 2
    assert predictors[0].cold_start.start_seconds == (9.0 if percent == 100 else 5.0)
    pulled = read(folder, canary=canary, cold_start={"pull_seconds": 20}).predictors[-1].cold_start
    assert (pulled.pull_seconds, pulled.start_seconds) == (20.0, 9.0)
    said = read(folder, canary=canary, cold_start={"start_seconds": 1}).predictors[-1].cold_start
    assert said.start_seconds == 1.0


def test_a_canarys_release_is_checked_if_it_names_one(folder: Path) -> None:
    newer = ProfiledRelease("fedcba9876543210", "tiny", None)
    save(folder, profile(name="new", slots=2, release=newer))
    canary = {"profile": "new.json", "percent": 5}
    assert len(read(folder, release="0123456789abcdef", canary=canary).predictors) == 2
    assert len(read(folder, canary={**canary, "release": "fedcba9876543210"}).predictors) == 2
    with pytest.raises(SimulationError, match="profile new is of release fedcba9876543210, not of 0123"):
        read(folder, canary={**canary, "release": "0123456789abcdef"})


def test_fields_may_replace_those_of_a_file(folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        "manifest: manifest.yaml\nprofile: tiny.json\nslo_ms: 9\n", encoding="utf-8"
    )
    scenario = load_scenario(folder / "mine.yaml", {"slo_ms": 500, "seed": 3})
    assert (scenario.slo_s, scenario.seed) == (0.5, 3)
    with pytest.raises(SimulationError, match="slo_ms is -1"):
        load_scenario(folder / "mine.yaml", {"slo_ms": -1})


def test_the_guides_scenarios_ask_for_what_their_profiles_are_of() -> None:
    folder = Path(__file__).parents[3] / "docs" / "guides" / "capacity"
    for path in folder.glob("*.yaml"):
        if not path.name.startswith("manifest"):
            assert load_scenario(path).predictors
