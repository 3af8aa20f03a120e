"""Plans of rollouts against KServe's rules as code: what is sent, what it leads to, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferenceservices.release_change import ReleaseChange
from inferenceservices.rollout import (
    RolloutStep,
    merge,
    plan_promote,
    plan_rollback,
    plan_set,
    plan_share,
)
from inferenceservices.rollout_state import DIGEST_ANNOTATION, ROLLOUT_COMPONENTS, RolloutRefused, read_state
from inferenceservices.rules.scaling import canary_percent, canary_together
from inferenceservices.schemas import validate
from protocol.kubernetes.inference_service import inference_services
from tests.inferenceservices.api_server import Controller
from tests.inferenceservices.builds import crd_schemas, documents_of
from tests.inferenceservices.rollouts import carry_out, deployed, releases, service_document, traffic

B = ReleaseChange(release="b")
NOTHING = ReleaseChange()


def _both(percent: int | None) -> dict[str, Any]:
    return {name: {"canaryTrafficPercent": percent} for name in ROLLOUT_COMPONENTS}


def _canary(percent: int = 10, starts: str = "") -> Controller:
    """Release b beside release a; revisions whose names end in ``starts`` do not come up."""
    controller = deployed(lambda name: not (starts and name.endswith(starts)))
    carry_out(controller, plan_set(controller.document, percent, B))
    return controller


def test_a_canary_moves_both_components_with_tags_and_new_revisions() -> None:
    controller = deployed()
    plan = plan_set(controller.document, 10, B)
    assert plan.makes_revisions
    assert plan.patch["metadata"]["resourceVersion"] == "1"
    assert plan.patch["metadata"]["annotations"]["serving.kserve.io/enable-tag-routing"] == "true"
    carry_out(controller, plan)
    for name in ROLLOUT_COMPONENTS:
        assert traffic(controller, name) == {"a": 90, "b": 10}
        tags = {t["tag"] for t in controller.document["status"]["components"][name]["traffic"]}
        assert tags == {"latest", "prev"}


def test_a_canary_from_ten_to_a_hundred_percent() -> None:
    controller = _canary(10)
    plan = plan_set(controller.document, 50, NOTHING)
    assert plan.patch["spec"] == _both(50)
    assert not plan.makes_revisions
    carry_out(controller, plan)
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 50, "b": 50}
    carry_out(controller, plan_promote(controller.document))
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"b": 100}
    assert "canaryTrafficPercent" not in controller.document["spec"]["predictor"]
    assert plan_promote(controller.document).patch == {}
    assert [len(revisions) for revisions in controller.revisions.values()] == [2, 2]


def test_a_hundred_percent_promotes_a_running_canary() -> None:
    document = _canary(10).document
    assert plan_set(document, 100, NOTHING) == plan_promote(document)


def test_a_canary_is_rolled_back() -> None:
    controller = _canary(50)
    plan = plan_rollback(controller.document, releases(controller))
    assert plan.patch["spec"] == _both(0)
    carry_out(controller, plan)
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 100}
    assert plan_rollback(controller.document).patch == {}
    with pytest.raises(RolloutRefused, match="give it a share first"):
        plan_promote(controller.document)


def test_a_promoted_release_is_rolled_back_and_may_be_tried_again() -> None:
    controller = _canary(50)
    carry_out(controller, plan_promote(controller.document))
    carry_out(controller, plan_rollback(controller.document, releases(controller)))
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 100}
    carry_out(controller, plan_set(controller.document, 20, NOTHING))
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 80, "b": 20}


def test_a_canary_of_the_predictor_alone_would_roll_the_transformer_back() -> None:
    """KServe's rule behind the stamp: the same share on a transformer without a newer revision is its rollback."""
    controller = _canary(50)
    carry_out(controller, plan_promote(controller.document))
    naive = merge(controller.document, {"spec": _both(10)})
    naive["spec"]["predictor"]["containers"][0]["image"] = "example/predictor:2"
    controller.document = naive
    controller.reconcile()
    assert traffic(controller, "transformer") == {"a": 90, "b": 10}


def test_another_image_of_one_component_makes_revisions_of_both() -> None:
    controller = deployed()
    plan = plan_set(controller.document, 10, ReleaseChange(images={"predictor": "example/predictor:2"}))
    assert "containers" not in plan.patch["spec"]["transformer"]
    carry_out(controller, plan)
    assert [len(revisions) for revisions in controller.revisions.values()] == [2, 2]
    assert plan.patch["metadata"]["annotations"][DIGEST_ANNOTATION]
    again = plan_set(controller.document, 10, ReleaseChange(images={"predictor": "example/predictor:2"}))
    assert again.patch == {}


def test_a_new_canary_replaces_one_that_failed() -> None:
    controller = _canary(10, starts="-00002")
    with pytest.raises(RolloutRefused, match=r"predictor-00002 is not ready .*failed: no plan"):
        plan_set(controller.document, 50, NOTHING)
    with pytest.raises(RolloutRefused, match="is not ready"):
        plan_promote(controller.document)
    plan = plan_set(controller.document, 10, ReleaseChange(release="c"))
    assert "in the place of yiwen-predictor-00002" in plan.summary
    assert plan.share_when_ready is None
    carry_out(controller, plan)
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 90, "c": 10}


@pytest.mark.parametrize("percent", [10, 50, 100])
def test_a_former_canary_never_gets_the_share_of_a_new_one(percent: int) -> None:
    controller = _canary(50)
    carry_out(controller, plan_rollback(controller.document, releases(controller)))
    controller.starts = lambda name: False
    started = plan_set(controller.document, percent, ReleaseChange(release="c"), releases(controller))
    assert "yiwen-predictor-00002, yiwen-transformer-00002 would get theirs" in started.summary
    carry_out(controller, started)
    for component in ROLLOUT_COMPONENTS:
        assert traffic(controller, component) == {"a": 100}
    waiting = plan_share(controller.document, started)
    assert (waiting.patch, waiting.share_when_ready) == ({}, percent)
    controller.start_newest()
    given = plan_share(controller.document, started)
    assert given.share_when_ready is None
    carry_out(controller, given)
    expected = {"c": 100} if percent == 100 else {"a": 100 - percent, "c": percent}
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == expected


def test_a_running_canary_gets_none_of_the_share_of_one_in_its_place() -> None:
    controller = _canary(10)
    controller.starts = lambda name: False
    started = plan_set(controller.document, 50, ReleaseChange(release="c"))
    carry_out(controller, started)
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 100}
    controller.start_newest()
    carry_out(controller, plan_share(controller.document, started))
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 50, "c": 50}


def test_a_release_that_was_rolled_back_after_its_promotion_gets_no_share() -> None:
    controller = _canary(50)
    carry_out(controller, plan_promote(controller.document))
    carry_out(controller, plan_rollback(controller.document, releases(controller)))
    controller.starts = lambda name: False
    carry_out(controller, plan_set(controller.document, 100, ReleaseChange(release="c")))
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 100}


@pytest.mark.parametrize("change", ["another canary", "another share"])
def test_what_somebody_else_changes_while_pods_start_is_not_overwritten(change: str) -> None:
    controller = _canary(50)
    carry_out(controller, plan_rollback(controller.document))
    controller.starts = lambda name: False
    started = plan_set(controller.document, 50, ReleaseChange(release="c"))
    carry_out(controller, started)
    if change == "another canary":
        carry_out(controller, plan_set(controller.document, 50, ReleaseChange(release="d")))
        controller.start_newest()
    else:
        controller.start_newest()
        carry_out(controller, plan_set(controller.document, 5, NOTHING))
    with pytest.raises(RolloutRefused, match="somebody else has changed the rollout of yiwen"):
        plan_share(controller.document, started)


def test_a_rollout_with_a_failing_predictor_is_rolled_back_in_both_components() -> None:
    controller = deployed(lambda name: name != "yiwen-predictor-00002")
    carry_out(controller, plan_set(controller.document, 100, B))
    assert traffic(controller, "predictor") == {"a": 100}
    assert traffic(controller, "transformer") == {"b": 100}
    with pytest.raises(RolloutRefused, match=r"two releases would mix: .* serves a and .* serves b"):
        plan_set(controller.document, 10, ReleaseChange(release="c"), releases(controller))
    carry_out(controller, plan_rollback(controller.document, releases(controller)))
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"a": 100}


def test_a_first_deployment_takes_a_release_but_no_percentage() -> None:
    controller = deployed(lambda name: not name.endswith("-00001"))
    with pytest.raises(RolloutRefused, match="ignores the share of a first deployment"):
        plan_set(controller.document, 10, B)
    with pytest.raises(RolloutRefused, match="no revision yet that had all traffic"):
        plan_set(controller.document, 10, NOTHING)
    with pytest.raises(RolloutRefused, match="no earlier revision"):
        plan_rollback(controller.document)
    carry_out(controller, plan_set(controller.document, 100, B))
    assert traffic(controller, "predictor") == traffic(controller, "transformer") == {"b": 100}


def _standard(document: dict[str, Any]) -> None:
    document["status"]["deploymentMode"] = "RawDeployment"


def _without_transformer(document: dict[str, Any]) -> None:
    del document["spec"]["transformer"]


def _unseen(document: dict[str, Any]) -> None:
    document["metadata"]["generation"] += 1


def _untagged(document: dict[str, Any]) -> None:
    del document["metadata"]["annotations"]["serving.kserve.io/enable-tag-routing"]


def _half(document: dict[str, Any]) -> None:
    status = document["status"]["components"]["transformer"]
    status["latestRolledoutRevision"] = status["latestCreatedRevision"]


def _no_variable(document: dict[str, Any]) -> None:
    document["spec"]["transformer"]["containers"][0]["env"] = []


def _as_it_is(document: dict[str, Any]) -> None:
    del document["metadata"]["annotations"][DIGEST_ANNOTATION]


@pytest.mark.parametrize(
    ("change_document", "percent", "change", "message"),
    [
        (_standard, 20, NOTHING, "Standard mode, and yiwen rollout knows Knative and Standard"),
        (_without_transformer, 20, NOTHING, "has no transformer"),
        (_unseen, 20, NOTHING, "not acted on the last change"),
        (_untagged, 20, NOTHING, "lacks the annotation"),
        (_half, 20, NOTHING, "the transformer of yiwen has no newer revision"),
        (_no_variable, 20, ReleaseChange(release="c"), "the transformer has no YIWEN_RELEASE"),
        (_as_it_is, 101, NOTHING, "101 is no share"),
        (_as_it_is, -1, B, "-1 is no share"),
        (_as_it_is, 20, ReleaseChange(release="../c"), "is no release"),
        (_as_it_is, 20, ReleaseChange(release="/a/../c"), "is no release"),
        (_as_it_is, 20, ReleaseChange(storage="pvc://models/c"), "has no model with a storageUri"),
    ],
)
def test_steps_that_would_fail_are_refused(
    change_document: Callable[[dict[str, Any]], None], percent: int, change: ReleaseChange, message: str
) -> None:
    document = _canary(10).document
    change_document(document)
    with pytest.raises(RolloutRefused, match=message):
        plan_set(document, percent, change)


def test_a_percentage_without_new_revisions_is_refused() -> None:
    controller = _canary(10)
    carry_out(controller, plan_promote(controller.document))
    with pytest.raises(RolloutRefused, match="would take a share below 100 for a rollback"):
        plan_set(controller.document, 10, NOTHING)


@pytest.mark.parametrize("overlay", ["production", "staging", "runtime"])
def test_a_release_changes_in_every_field_that_names_it(overlay: str) -> None:
    documents = documents_of(f"overlays/{overlay}")
    (service,) = inference_services(documents)
    release = "qwen3-1-7b"
    assert str(service.document).count(f"/{release}'") >= 2
    controller = Controller(
        {**service.document, "metadata": {**service.document["metadata"], "generation": 1}}
    )
    controller.reconcile()
    plan = plan_set(controller.document, 100, ReleaseChange(release="other"))
    after = merge(service.document, plan.patch)
    assert str(after).count("/other'") == str(service.document).count(f"/{release}'")
    assert f"/{release}'" not in str(after)
    (changed,) = inference_services([after])
    assert not [*canary_together(changed), *(m for c in changed.components for m in canary_percent(c))]
    assert validate([after], crd_schemas())[0] == []


def test_a_models_storage_names_the_transformers_release() -> None:
    document = service_document()
    predictor = document["spec"]["predictor"]
    predictor["model"] = {"modelFormat": {"name": "yiwen"}, "storageUri": "pvc://models/releases/a"}
    del predictor["containers"]
    document["status"] = deployed().document["status"]
    patch = plan_set(document, 10, ReleaseChange(storage="pvc://other/releases/c")).patch
    assert patch["spec"]["predictor"]["model"]["storageUri"] == "pvc://other/releases/c"
    environment = patch["spec"]["transformer"]["containers"][0]["env"]
    assert {"name": "YIWEN_RELEASE", "value": "/mnt/models/releases/c"} in environment


PLANNERS: dict[str, Callable[..., RolloutStep]] = {
    "promote": lambda document, _: plan_promote(document),
    "rollback": plan_rollback,
}
_STEPS = st.one_of(
    st.tuples(st.just("set"), st.integers(-5, 105), st.sampled_from(["", "a", "b", "c"])),
    st.tuples(st.just("promote"), st.just(0), st.just("")),
    st.tuples(st.just("rollback"), st.just(0), st.just("")),
)


@settings(max_examples=150)
@given(
    steps=st.lists(_STEPS, max_size=8),
    broken=st.sets(st.tuples(st.sampled_from(ROLLOUT_COMPONENTS), st.integers(2, 6))),
)
def test_the_stable_revisions_of_both_components_always_serve_one_release(
    steps: list[tuple[str, int, str]], broken: set[tuple[str, int]]
) -> None:
    """After every step that is not refused: equal shares within 0 to 100, revisions in step, one release behind."""
    names = {f"yiwen-{component}-{number:05d}" for component, number in broken}
    controller = deployed(lambda name: name not in names)
    for kind, percent, release in steps:
        known, before = releases(controller), read_state(controller.document)
        try:
            if kind == "set":
                plan = plan_set(controller.document, percent, ReleaseChange(release=release), known)
            else:
                plan = PLANNERS[kind](controller.document, known)
        except RolloutRefused:
            continue
        carry_out(controller, plan)
        predictor, transformer = read_state(controller.document).components
        assert predictor.percent == transformer.percent
        assert predictor.percent is None or 0 <= predictor.percent <= 100
        assert len({len(revisions) for revisions in controller.revisions.values()}) == 1
        known = releases(controller)
        for former, component in zip(before.components, (predictor, transformer), strict=True):
            shown = {target.revision for target in component.traffic if target.percent}
            if plan.makes_revisions:
                assert shown <= {former.latest_rolled_out, component.latest_created}
        if predictor.percent is not None and plan.patch:
            assert known[predictor.latest_rolled_out] == known[transformer.latest_rolled_out]
        if kind == "promote":
            assert plan_promote(controller.document).patch == {}
        if kind == "rollback":
            assert traffic(controller, "predictor") == traffic(controller, "transformer")
            assert len(traffic(controller, "predictor")) == 1
            assert plan_rollback(controller.document, known).patch == {}


@pytest.mark.parametrize(
    ("written", "observed"), [("2026-11-29T08:15:22Z", True), ("2026-11-29T08:15:11Z", False)]
)
def test_a_status_that_was_written_after_the_specification_is_of_it(written: str, observed: bool) -> None:
    # KServe 0.17: the generation that it says is that of the transformer's Knative Service, and only the predictor
    # was changed.
    document = _canary().document
    document["status"]["observedGeneration"] = document["metadata"]["generation"] - 1
    assert not read_state(document).is_observed
    document["metadata"]["managedFields"] = [
        {"manager": "kubectl-patch", "time": "2026-11-29T08:15:11Z", "fieldsV1": {"f:spec": {}}},
        {"manager": "manager", "time": written, "subresource": "status", "fieldsV1": {"f:status": {}}},
        {"manager": "manager", "time": "2026-11-29T09:00:00Z", "fieldsV1": {"f:metadata": {}}},
    ]
    assert read_state(document).is_observed is observed
