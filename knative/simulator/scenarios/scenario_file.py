"""Reads a scenario from a YAML file, or from command-line options, which come to the same document.

::

    name: ours
    manifest: inferenceservice.yaml        # or a kustomize directory, which kubectl then builds
    profile: 7b-h200-full-float16          # a shipped one, or a PROFILE.json
    autoscaler: config-autoscaler.yaml     # optional: the ConfigMap
    release: 6ab5c4bb01772912              # optional: refuse a profile of another release
    slots: 64                              # optional: of each pod; as YIWEN_SLOTS
    slices: 16
    slo_ms: 800
    traffic: {chars: 60, texts_per_request: {1: 0.9, 64: 0.1}}   # shares of requests; or a number
    cache: {kind: zipf, texts: 100000, exponent: 1.0}
    canary: {profile: new.json, percent: 10}   # and release, to refuse a profile of another one
    cold_start: {schedule_seconds: 1, pull_seconds: 20}
    pod_failures: [120]                    # optional: seconds at which a predictor pod dies
    node: {cores: 2, hop_seconds: 0.0005}  # optional: all pods share one machine's cores, also with
                                           # others: {values: [0.5]}, cores that other processes keep busy

Paths are relative to the file. A GPU that the manifest asks for must be the one that the profile is of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from knative.autoscaler.annotations import RevisionScaling, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.kpa import KPA
from knative.autoscaler.manifests import ScalableComponent, read_autoscaler_config, read_components
from knative.errors import ConfigError
from knative.former_names import refuse_former_names
from knative.profiling.profile import PredictorProfile, ProfileError, load_profile
from knative.simulator.cluster.deployment import ColdStart
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.errors import SimulationError
from knative.simulator.load.workload import CacheModel, Traffic
from knative.simulator.scenarios.gpu_limits import check_limits
from knative.simulator.scenarios.manifest_file import read_manifest
from knative.simulator.scenarios.scenario import (
    QUEUE_TOKENS,
    Node,
    PredictorService,
    Scenario,
    TransformerService,
)
from protocol.kubernetes.documents import load_documents
from protocol.kubernetes.inference_service import inference_services
from protocol.kubernetes.pods import environment
from protocol.validation import StrictModel, validate

RENAMED_FIELDS: Mapping[str, str] = {"initial": "initial_pods", "losses": "pod_failures"}
"""Former names of fields, and their names now."""

GROUP_SIZE, GROUPS_IN_FLIGHT = "YIWEN_PREDICTOR_GROUP_SIZE", "YIWEN_PREDICTOR_GROUPS_IN_FLIGHT"

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


class ColdStartFields(StrictModel):
    """Fields of :class:`ColdStart` that differ from its defaults."""

    schedule_seconds: Seconds | None = None
    pull_seconds: Seconds | None = None
    start_seconds: Seconds | None = None
    """None: the profile's."""
    drain_seconds: Seconds | None = None


class CanaryFields(StrictModel):
    """A second revision of the predictor."""

    profile: str | None = None
    """None: the stable revision's."""
    percent: float | None = Field(default=None, ge=0, le=100)
    """Of the requests; None: as the manifest says."""
    release: str | None = None


class ScenarioDocument(StrictModel):
    """The fields of a scenario file; see the module's docstring."""

    manifest: str
    profile: str
    name: str | None = None
    autoscaler: str | None = None
    release: str | None = None
    slots: Count | None = None
    queue_tokens: Count = QUEUE_TOKENS
    initial_pods: int | None = Field(default=None, ge=0)
    slices: Count | None = None
    price_per_slice_hour: float = Field(default=0.0, ge=0)
    slo_ms: float = Field(default=800.0, ge=0)
    timeout_s: Seconds = 30.0
    overhead_ms: float = Field(default=4.0, ge=0)
    traffic: Traffic = Traffic()
    cache: CacheModel = CacheModel()
    transformer: TransformerModel = TransformerModel()
    cold_start: ColdStartFields = ColdStartFields()
    canary: CanaryFields = CanaryFields()
    pod_failures: tuple[Seconds, ...] = ()
    node: Node | None = None
    seed: int = Field(default=0, ge=0)


def load_scenario(path: Path, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Read a scenario file.

    Args:
        path: of the file.
        overrides: fields that replace those of the file.

    Raises:
        SimulationError: it cannot be read, or is not valid; the message names the field.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SimulationError(f"{path} does not exist: write one as docs/guides/capacity.md shows") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SimulationError(f"{path} cannot be read as YAML: {error}") from error
    if isinstance(document, Mapping):
        document = {**document, **(overrides or {})}
    return read_scenario(document, path.name, path.parent, name=path.stem)


def read_scenario(document: object, place: str, base: Path, *, name: str) -> Scenario:
    """A scenario from its document.

    Args:
        document: what a YAML parser made of the file; fields that are null count as absent.
        place: where it is from, for messages.
        base: directory that paths are relative to.
        name: of the scenario, if the document has none.

    Raises:
        SimulationError: it is not valid, or a file that it names is not.
    """
    if isinstance(document, Mapping):
        refuse_former_names(document, RENAMED_FIELDS, place=place, error=SimulationError)
        document = {field: value for field, value in document.items() if value is not None}
    fields = validate(ScenarioDocument, document, place=place, error=SimulationError)
    try:
        return _scenario(fields, base, fields.name or name)
    except (ConfigError, ProfileError) as error:
        raise SimulationError(str(error)) from error


def _scenario(fields: ScenarioDocument, base: Path, name: str) -> Scenario:
    config = AutoscalerConfig()
    if fields.autoscaler is not None:
        config = read_autoscaler_config(read_manifest(base / fields.autoscaler))
    manifest = base / fields.manifest
    text = read_manifest(manifest)
    components = {c.role: c for c in read_components(text, config)}
    predictor = components.get("predictor") or components.get("service")
    if predictor is None:
        raise SimulationError(f"{manifest} has no predictor: add one to its InferenceService")
    transformer = components.get("transformer")
    predictors = _predictors(fields, base, predictor, config)
    check_limits(str(manifest), text, [service.profile for service in predictors])
    return Scenario(
        name=name,
        predictors=predictors,
        transformer=_transformer(_grouped(fields.transformer, text), transformer, config)
        if transformer
        else None,
        traffic=fields.traffic,
        cache=fields.cache,
        node=fields.node,
        autoscaler=config,
        timeout_s=_timeout(fields, [c for c in (predictor, transformer) if c]),
        overhead_s=fields.overhead_ms / 1000,
        slices=fields.slices,
        price_per_slice_hour=fields.price_per_slice_hour,
        slo_s=fields.slo_ms / 1000,
        pod_failures=fields.pod_failures,
        seed=fields.seed,
    )


def _predictors(
    fields: ScenarioDocument, base: Path, component: ScalableComponent, config: AutoscalerConfig
) -> tuple[PredictorService, ...]:
    """The stable revision, the canary, or both with their shares of the requests."""
    stable = _predictor(fields, base, component, config)
    canary, profile = fields.canary, stable.profile
    if canary.profile is not None:
        profile = _profile(canary.profile, base)
    _check_release(canary.release, profile)
    percent = canary.percent
    if percent is None:
        percent = component.canary_traffic_percent or 0
    if not percent:
        return (stable,)
    newer = dataclasses.replace(
        stable,
        profile=profile,
        slots=min(stable.slots, profile.slots),
        cold_start=_cold_start(fields, profile),
    )
    if percent == 100:
        return (newer,)
    return (
        dataclasses.replace(stable, share=1 - percent / 100),
        dataclasses.replace(newer, name=f"{stable.name} (canary)", share=percent / 100),
    )


def _predictor(
    fields: ScenarioDocument, base: Path, component: ScalableComponent, config: AutoscalerConfig
) -> PredictorService:
    profile = _profile(fields.profile, base)
    _check_release(fields.release, profile)
    return PredictorService(
        name=component.name,
        scaling=_scaling(component, config),
        profile=profile,
        slots=fields.slots or 0,
        queue_tokens=fields.queue_tokens,
        cold_start=_cold_start(fields, profile),
        initial_pods=fields.initial_pods,
    )


def _check_release(release: str | None, profile: PredictorProfile) -> None:
    """Refuse a profile of another release than the document names, if it names one."""
    if release is not None and release != profile.release.id:
        raise SimulationError(
            f"profile {profile.name} is of release {profile.release.id or 'unknown'}, not of {release}: measure that "
            "one with `yiwen profile`, or leave release out to simulate with this one's numbers"
        )


def _cold_start(fields: ScenarioDocument, profile: PredictorProfile) -> ColdStart:
    """The start of a process takes as long as its profile says, unless the scenario says otherwise."""
    given = fields.cold_start.model_dump(exclude_none=True)
    return ColdStart(**{"start_seconds": profile.start_seconds, **given})


def _transformer(
    model: TransformerModel, component: ScalableComponent, config: AutoscalerConfig
) -> TransformerService:
    return TransformerService(
        scaling=_scaling(component, config),
        model=model,
        cold_start=ColdStart(start_seconds=model.start_seconds, drain_seconds=0.0),
    )


def _grouped(model: TransformerModel, text: str) -> TransformerModel:
    """``model`` with the groups of the manifest ``text`` where it has none of its own."""
    for service in inference_services(load_documents(text)):
        for component in service.components:
            if component.name == "transformer" and component.pod.containers:
                settings = environment(component.pod.containers[0])
                return dataclasses.replace(
                    model,
                    group_size=model.group_size or _number(settings.get(GROUP_SIZE)),
                    groups_in_flight=model.groups_in_flight or _number(settings.get(GROUPS_IN_FLIGHT)),
                )
    return model


def _number(value: str | None) -> int:
    return int(value) if value is not None and value.isdecimal() else 0


def _profile(name: str, base: Path) -> PredictorProfile:
    return load_profile(base / name if (base / name).exists() else name)


def _scaling(component: ScalableComponent, config: AutoscalerConfig) -> RevisionScaling:
    try:
        scaling = revision_scaling(component.annotations, component.container_concurrency, config)
        KPA(config, scaling, now=0.0)  # refuses a class that is not Knative's own
        return scaling
    except ConfigError as error:
        raise SimulationError(f"{component.name}: {error}") from error


def _timeout(fields: ScenarioDocument, components: list[ScalableComponent]) -> float:
    """Seconds that a request may take: the caller's timeout or a revision's, whichever is shorter."""
    return min([fields.timeout_s, *(float(c.timeout_seconds) for c in components if c.timeout_seconds)])
