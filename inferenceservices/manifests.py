"""Built manifests as values: documents, the InferenceService's components, and every pod that they describe.

Reading only. A manifest may be wrong in any way, so whatever is missing or of another type reads as empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

Document: TypeAlias = Mapping[str, Any]

MODE = "serving.kserve.io/deploymentMode"
KNATIVE, STANDARD = "Knative", "Standard"
SERVING_CONTAINER = "kserve-container"
TRANSFORMER_CONTAINER = "transformer-container"
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it: ten times as fast."""
COMPONENTS = ("predictor", "transformer", "explainer")


def load_manifests(text: str) -> tuple[Document, ...]:
    """The documents of a YAML stream, in order, without empty ones.

    Raises:
        yaml.YAMLError: it is no YAML.
        ValueError: a document is not an object with apiVersion, kind and metadata.name.
    """
    documents = []
    for number, document in enumerate(yaml.load_all(text, Loader=YAML_LOADER), 1):
        if document is None:
            continue
        if not isinstance(document, dict) or not document.get("apiVersion") or not document.get("kind"):
            raise ValueError(f"document {number} is no manifest: it needs apiVersion and kind")
        if not mapping(document, "metadata").get("name"):
            raise ValueError(f"document {number} ({document['kind']}) is no manifest: it needs metadata.name")
        documents.append(document)
    return tuple(documents)


def mapping(value: object, *path: str) -> Mapping[str, Any]:
    """The object at ``path``, or an empty one."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def objects(value: object, *path: str) -> tuple[Mapping[str, Any], ...]:
    """The objects of the list at ``path``, or none."""
    found = mapping(value, *path[:-1]).get(path[-1]) if path else value
    if not isinstance(found, Sequence) or isinstance(found, str):
        return ()
    return tuple(entry for entry in found if isinstance(entry, Mapping))


def texts(value: object, *path: str) -> dict[str, str]:
    """The object at ``path`` with its values as strings, as labels and annotations are."""
    return {str(key): str(entry) for key, entry in mapping(value, *path).items()}


def strings(value: object) -> tuple[str, ...]:
    """The entries of a list as strings, or none."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return tuple(str(entry) for entry in value)


def title(document: Document) -> str:
    """What people call it: ``Kind/name``."""
    return f"{document.get('kind')}/{mapping(document, 'metadata').get('name')}"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod template, whoever makes the pod."""

    where: str
    spec: Mapping[str, Any]
    labels: Mapping[str, str]
    namespace: str

    @property
    def containers(self) -> tuple[Mapping[str, Any], ...]:
        """Those that run side by side."""
        return objects(self.spec, "containers")

    @property
    def init_containers(self) -> tuple[Mapping[str, Any], ...]:
        """Those that run before."""
        return objects(self.spec, "initContainers")

    @property
    def all_containers(self) -> tuple[Mapping[str, Any], ...]:
        """Both, in the order in which they start."""
        return self.init_containers + self.containers

    @property
    def volumes(self) -> Mapping[str, Mapping[str, Any]]:
        """Volumes by name."""
        return {str(volume.get("name")): volume for volume in objects(self.spec, "volumes")}


@dataclass(frozen=True, slots=True)
class Component:
    """One component of an InferenceService, as its pods will be: what a ServingRuntime gives is in ``spec``."""

    name: str
    service: InferenceService
    written: Mapping[str, Any]
    """The component as the manifest has it."""
    spec: Mapping[str, Any]

    @property
    def pod(self) -> Pod:
        """Its pods."""
        where = f"{title(self.service.document)} {self.name}"
        return Pod(where, self.spec, texts(self.spec, "labels"), self.service.namespace)

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations of its revisions: its own over the InferenceService's."""
        return {**self.service.annotations, **texts(self.spec, "annotations")}


@dataclass(frozen=True, slots=True)
class InferenceService:
    """An InferenceService of serving.kserve.io/v1beta1."""

    document: Document
    runtimes: Mapping[str, Document]
    """ServingRuntimes of the same manifests, by name."""

    @property
    def name(self) -> str:
        """Its name, which is the model's name in URLs too."""
        return str(mapping(self.document, "metadata").get("name", ""))

    @property
    def namespace(self) -> str:
        """Its namespace; empty if the manifest leaves that to whoever applies it."""
        return str(mapping(self.document, "metadata").get("namespace", ""))

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its own annotations."""
        return texts(self.document, "metadata", "annotations")

    @property
    def mode(self) -> str:
        """Knative or Standard, with the older names read as the newer; empty if it is not stated."""
        stated = str(self.annotations.get(MODE, ""))
        return {"Serverless": KNATIVE, "RawDeployment": STANDARD}.get(stated, stated)

    @property
    def components(self) -> tuple[Component, ...]:
        """Those that the manifest has."""
        spec = mapping(self.document, "spec")
        return tuple(self._component(name, mapping(spec, name)) for name in COMPONENTS if name in spec)

    def component(self, name: str) -> Component | None:
        """The component of that name, if there is one."""
        return next((component for component in self.components if component.name == name), None)

    def _component(self, name: str, written: Mapping[str, Any]) -> Component:
        runtime = self.runtimes.get(str(mapping(written, "model").get("runtime")))
        return Component(name, self, written, written if runtime is None else _with_runtime(written, runtime))


def _with_runtime(written: Mapping[str, Any], runtime: Document) -> Mapping[str, Any]:
    """What KServe makes of a predictor that names a runtime: the predictor's fields, or else the runtime's; arguments
    of both, and variables of both by name.
    """
    from_runtime = mapping(runtime, "spec")
    model = mapping(written, "model")
    containers = []
    for container in objects(from_runtime, "containers"):
        if container.get("name") == SERVING_CONTAINER:
            own = {key: model[key] for key in ("image", "ports", "resources") if key in model}
            args = [*strings(container.get("args")), *strings(model.get("args"))]
            variables = {
                str(entry.get("name")): entry for c in (container, model) for entry in objects(c, "env")
            }
            container = {**container, **own, "args": args, "env": list(variables.values())}
        containers.append(container)
    shared = ("affinity", "tolerations", "nodeSelector", "volumes", "imagePullSecrets")
    taken = {key: from_runtime[key] for key in shared if key in from_runtime}
    return {**taken, **written, "containers": containers}


def inference_services(documents: Iterable[Document]) -> tuple[InferenceService, ...]:
    """The InferenceServices among ``documents``, each with the ServingRuntimes it may name."""
    documents = tuple(documents)
    runtimes = {
        str(mapping(d, "metadata").get("name")): d for d in documents if d.get("kind") == "ServingRuntime"
    }
    return tuple(InferenceService(d, runtimes) for d in documents if d.get("kind") == "InferenceService")


def pods(documents: Iterable[Document]) -> Iterator[Pod]:
    """Every pod template: of InferenceServices, Deployments, StatefulSets and Jobs."""
    documents = tuple(documents)
    for service in inference_services(documents):
        for component in service.components:
            yield component.pod
    for document in documents:
        template = mapping(document, "spec", "template")
        if document.get("kind") in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            namespace = str(mapping(document, "metadata").get("namespace", ""))
            labels = texts(template, "metadata", "labels")
            yield Pod(title(document), mapping(template, "spec"), labels, namespace)


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's variables that are given literally."""
    found = {str(entry.get("name")): entry.get("value") for entry in objects(container, "env")}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def arguments(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's arguments that begin with ``--``, by name; one without ``=`` takes the next as its value."""
    found: dict[str, str] = {}
    name = ""
    for argument in strings(container.get("args")):
        if argument.startswith("--"):
            name, _, value = argument.partition("=")
            found[name] = value
        elif name:
            found[name], name = argument, ""
    return found
