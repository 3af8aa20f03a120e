"""A scenario from a YAML file, or from the options of the command line, which come to the same document.

::

    name: ours
    manifest: inferenceservice.yaml        # or a kustomize directory, which kubectl then builds
    profile: 7b-h200-full-float16          # a shipped one, or a PROFILE.json
    autoscaler: config-autoscaler.yaml     # optional: the ConfigMap
    release: 6ab5c4bb01772912              # optional: refuse a profile of another release
    slots: 64                              # optional: of each pod; as YIWEN_SLOTS
    slices: 16
    slo_ms: 800
    traffic: {chars: 60}
    cache: {kind: zipf, texts: 100000, exponent: 1.0}
    canary: {profile: new.json, percent: 10}   # and release, to refuse a profile of another one
    cold_start: {schedule_seconds: 1, pull_seconds: 20}
    losses: [120]
    node: {cores: 2, hop_seconds: 0.0005}  # optional: all pods share one machine's cores

Paths are relative to the file. A GPU that the manifest asks for must be the one that the profile is of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from knative.autoscaler.annotations import RevisionScaling, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.kpa import KPA
from knative.autoscaler.manifests import ScalableComponent, read_autoscaler_config, read_components
from knative.errors import ConfigError
from knative.fields import Fields, FieldsError
from knative.profiling.profile import PredictorProfile, ProfileError, load_profile
from knative.simulator.cluster.deployment import ColdStart
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.errors import SimulationError
from knative.simulator.load.workload import CacheModel, Traffic
from knative.simulator.scenarios.gpu_limits import check_limits
from knative.simulator.scenarios.scenario import (
    QUEUE_TOKENS,
    Node,
    PredictorService,
    Scenario,
    TransformerService,
)
from protocol.kubernetes.kubectl import KustomizeError, build_kustomization

_Numbers = TypeVar("_Numbers", Traffic, CacheModel, ColdStart, TransformerModel)


def load_scenario(path: Path, instead: Mapping[str, Any] | None = None) -> Scenario:
    """Read a scenario's file.

    Args:
        path: of the file.
        instead: fields that count instead of the file's.

    Raises:
        SimulationError: it cannot be read, or breaks a rule; the message names the field.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SimulationError(f"{path} does not exist: write one as docs/guides/capacity.md shows") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SimulationError(f"{path} cannot be read as YAML: {error}") from error
    if isinstance(document, Mapping):
        document = {**document, **(instead or {})}
    return read_scenario(document, path.name, path.parent, name=path.stem)


def read_scenario(document: object, place: str, base: Path, *, name: str) -> Scenario:
    """A scenario from its document.

    Args:
        document: see above.
        place: where it is from, for messages.
        base: directory that paths are relative to.
        name: of the scenario, if the document has none.

    Raises:
        SimulationError: it breaks a rule, or a file that it names does.
    """
    try:
        fields = Fields(document, place)
        scenario = _scenario(fields, base, name)
        fields.finish()
    except (FieldsError, ConfigError, ProfileError) as error:
        raise SimulationError(str(error)) from error
    return scenario


def read_manifest(path: Path) -> str:
    """YAML of a manifest; a kustomize directory is built with kubectl.

    Raises:
        SimulationError: it cannot be read or built.
    """
    if not path.is_dir():
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise SimulationError(
                f"{path} does not exist: give an InferenceService's YAML or an overlay's directory"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise SimulationError(f"{path} cannot be read: {error}") from error
    try:
        return build_kustomization(path)
    except KustomizeError as error:
        raise SimulationError(str(error)) from error


def _scenario(fields: Fields, base: Path, name: str) -> Scenario:
    config = AutoscalerConfig()
    if fields.has("autoscaler"):
        config = read_autoscaler_config(read_manifest(base / fields.text("autoscaler")))
    manifest = base / fields.text("manifest")
    text = read_manifest(manifest)
    components = {c.role: c for c in read_components(text, config)}
    predictor = components.get("predictor") or components.get("service")
    if predictor is None:
        raise SimulationError(f"{manifest} has no predictor: add one to its InferenceService")
    front = components.get("transformer")
    predictors = _predictors(fields, base, predictor, config)
    check_limits(str(manifest), text, [service.profile for service in predictors])
    slices = fields.integer("slices", least=1, default=0) if fields.has("slices") else None
    return Scenario(
        name=fields.text("name", name),
        predictors=predictors,
        transformer=_transformer(fields, front, config) if front else None,
        traffic=_numbers(fields, "traffic", Traffic()),
        cache=_numbers(fields, "cache", CacheModel()),
        node=_node(fields),
        autoscaler=config,
        timeout_s=_timeout(fields, [c for c in (predictor, front) if c]),
        overhead_s=fields.number("overhead_ms", default=4.0) / 1000,
        slices=slices,
        price_per_slice_hour=fields.number("price_per_slice_hour", default=0.0),
        slo_s=fields.number("slo_ms", default=800.0) / 1000,
        losses=fields.numbers("losses", default=()),
        seed=fields.integer("seed", least=0, default=0),
    )


def _predictors(
    fields: Fields, base: Path, component: ScalableComponent, config: AutoscalerConfig
) -> tuple[PredictorService, ...]:
    stable = _predictor(fields, base, component, config)
    percent: float = component.canary_traffic_percent or 0
    profile = stable.profile
    canary = fields.inner_if_any("canary")
    if canary is not None:
        percent = canary.number("percent", most=100.0, default=percent)
        if canary.has("profile"):
            profile = _profile(canary, base)
        _check_release(canary, profile)
        canary.finish()
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
    fields: Fields, base: Path, component: ScalableComponent, config: AutoscalerConfig
) -> PredictorService:
    profile = _profile(fields, base)
    _check_release(fields, profile)
    return PredictorService(
        name=component.name,
        scaling=_scaling(component, config),
        profile=profile,
        slots=fields.integer("slots", least=1, default=0) if fields.has("slots") else 0,
        queue_tokens=fields.integer("queue_tokens", least=1, default=QUEUE_TOKENS),
        cold_start=_cold_start(fields, profile),
        initial=fields.integer("initial", least=0, default=0) if fields.has("initial") else None,
    )


def _check_release(fields: Fields, profile: PredictorProfile) -> None:
    """Refuse a profile of another release than the field beside it names, if there is one."""
    if fields.has("release") and fields.text("release") != profile.release.id:
        raise SimulationError(
            f"profile {profile.name} is of release {profile.release.id or 'unknown'}, not of "
            f"{fields.text('release')}: measure that one with `yiwen profile`, or leave release out to simulate "
            "with this one's numbers"
        )


def _cold_start(fields: Fields, profile: PredictorProfile) -> ColdStart:
    """A process starts as fast as its profile says, unless the scenario does."""
    return _numbers(fields, "cold_start", ColdStart(start_seconds=profile.start_seconds))


def _transformer(
    fields: Fields, component: ScalableComponent, config: AutoscalerConfig
) -> TransformerService:
    model = _numbers(fields, "transformer", TransformerModel())
    return TransformerService(
        scaling=_scaling(component, config),
        model=model,
        cold_start=ColdStart(start_seconds=model.start_seconds, drain_seconds=0.0),
    )


def _node(fields: Fields) -> Node | None:
    inner = fields.inner_if_any("node")
    if inner is None:
        return None
    usual = Node(cores=1)
    node = Node(
        cores=inner.integer("cores", least=1),
        slice_seconds=inner.number("slice_seconds", default=usual.slice_seconds),
        hop_seconds=inner.number("hop_seconds", default=usual.hop_seconds),
    )
    inner.finish()
    return node


def _profile(fields: Fields, base: Path) -> PredictorProfile:
    name = fields.text("profile")
    return load_profile(base / name if (base / name).exists() else name)


def _scaling(component: ScalableComponent, config: AutoscalerConfig) -> RevisionScaling:
    try:
        scaling = revision_scaling(component.annotations, component.container_concurrency, config)
        KPA(config, scaling, now=0.0)  # refuses a class that is not Knative's own
        return scaling
    except ConfigError as error:
        raise SimulationError(f"{component.name}: {error}") from error


def _timeout(fields: Fields, components: list[ScalableComponent]) -> float:
    """What ends a wait first: the caller, or a revision's own limit."""
    limits = [float(c.timeout_seconds) for c in components if c.timeout_seconds]
    return min([fields.number("timeout_s", default=30.0), *limits])


def _numbers(fields: Fields, name: str, default: _Numbers) -> _Numbers:
    """A flat dataclass of numbers and strings, by its own field names and defaults."""
    inner = fields.inner_if_any(name)
    if inner is None:
        return default
    values: dict[str, Any] = {}
    given: Mapping[str, Any] = {
        field.name: getattr(default, field.name) for field in dataclasses.fields(default)
    }
    for field, value in given.items():
        if isinstance(value, str):
            values[field] = inner.text(field, value)
        elif isinstance(value, int):
            values[field] = inner.integer(field, default=value)
        else:
            values[field] = inner.number(field, default=value)
    inner.finish()
    return type(default)(**values)
