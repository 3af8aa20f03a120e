"""The service that is measured: the overlay laptop in a namespace of its own, and how it is reached."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.cluster.processor_times import PREDICTOR, PROXY, TRANSFORMER, find_processes, total_s
from benchmarks.prediction.stack import SLOTS, Spent, main_thread_s, read_counters
from benchmarks.transformer_stages.job import Target
from protocol.kubernetes.kubectl import build_kustomization
from tests.cluster.features import Features
from tests.cluster.installation import Site, own_namespace
from tests.cluster.kubectl import documents, eventually
from tests.cluster.load import MODEL
from tests.cluster.overlays import Overlay

MOST_PODS = 4
START_S = 180.0
RELEASE_DIR = "/mnt/models/releases/a"
GROUPS_IN_FLIGHT = SLOTS + 1
"""Requests of one text each that a caller's request has in flight."""
SCALING = {
    # Little, since two cores decode what all pods decode: three requests in ten seconds of a second each are a pod.
    "autoscaling.knative.dev/target-utilization-percentage": "30",
    "autoscaling.knative.dev/window": "20s",
    "autoscaling.knative.dev/panic-window-percentage": "20",
    "autoscaling.knative.dev/scale-down-delay": "0s",
}
ENVIRONMENT = {"predictor": {"YIWEN_THREADS": "1"}, "transformer": {"YIWEN_CACHE_BYTES": "0"}}


@dataclass(frozen=True, slots=True)
class PodPredictor:
    """A predictor's pod, asked past its queue-proxy."""

    url: str
    uid: str


@dataclass(frozen=True, slots=True)
class RoutedTransformer:
    """The transformer behind the ingress gateway."""

    infer: Target
    uids: tuple[str, ...]
    """Of its pods."""


@dataclass(frozen=True, slots=True)
class ClusterService:
    """The running service as :func:`benchmarks.prediction.learning.learn` measures it."""

    transformer: RoutedTransformer
    predictors: tuple[PodPredictor, ...]

    def spent(self) -> Spent:
        """Processor time so far; proxies are the queue-proxies and the gateways."""
        uids = [each.uid for each in self.predictors]
        predictors = [psutil.Process(each) for each in find_processes(PREDICTOR, uids)]
        main_s = sum(map(main_thread_s, predictors))
        counters = asyncio.run(read_counters(self.predictors))
        return Spent(
            transformer_s=sum(total_s(each) for each in find_processes(TRANSFORMER, self.transformer.uids)),
            proxy_s=sum(total_s(each) for each in find_processes(PROXY)),
            request_s=main_s,
            step_s=sum(total_s(each.pid) for each in predictors) - main_s,
            steps=sum(each.steps for each in counters),
            prompt_tokens=sum(each.prompt_tokens for each in counters),
            generated_tokens=sum(each.generated_tokens for each in counters),
        )


@dataclass(frozen=True, slots=True)
class ServedOverlay:
    """The InferenceService in its namespace."""

    site: Site
    directory: Path
    """For manifests that are built."""

    @property
    def namespace(self) -> str:
        return self.site.installation.namespace

    def with_predictors(self, least: int, most: int) -> ServedOverlay:
        """The same with so many predictors, applied anew, since a change of revisions takes a minute."""
        spec = {**self.site.overlay.spec["predictor"], "minReplicas": least, "maxReplicas": most}
        site = self.site.with_overlay(spec={**self.site.overlay.spec, "predictor": spec})
        if site.installation.objects("inferenceservices"):
            site.stop()
        site.serve("a")
        site.installation.wait_ready()
        deployment = replace(self, site=site)
        eventually("pods of the newest revision alone", deployment.has_settled, START_S)
        return deployment

    def has_settled(self) -> bool:
        """Whether the pods that stay are the fewest of each component, ready and of its newest revision."""
        least = self.site.overlay.spec["predictor"]["minReplicas"]
        pods = [pod for name in (PREDICTOR, TRANSFORMER) for pod in self.site.installation.pods(name)]
        staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        revisions = {pod["metadata"]["labels"]["serving.knative.dev/revision"] for pod in staying}
        ready = [
            pod for name in (PREDICTOR, TRANSFORMER) for pod in self.site.installation.ready_pods(name) or []
        ]
        return len(staying) == len(ready) == least + 1 and revisions == {
            self.revision(n) for n in (PREDICTOR, TRANSFORMER)
        }

    def revision(self, component: str) -> str:
        """The newest ready revision."""
        components = self.site.installation.inference_service()["status"]["components"]
        return str(components[component]["latestReadyRevision"])

    def service(self) -> ClusterService:
        """The service as it is now."""
        installation, outside = self.site.installation, self.site.service
        url = urlsplit(outside.url)
        target = Target(
            url.port or 80, f"/v2/models/{MODEL}/infer", address=url.hostname or "", host=outside.host
        )
        transformers = tuple(pod["metadata"]["uid"] for pod in installation.ready_pods(TRANSFORMER) or [])
        predictors = installation.ready_pods(PREDICTOR) or []
        return ClusterService(RoutedTransformer(target, transformers), tuple(map(predictor_at, predictors)))

    def copy_release(self) -> Path:
        """The directory of a copy of the release that is served, which a Job on the cluster has built."""
        target = self.directory / "release"
        command = [
            "kubectl",
            "exec",
            "-n",
            self.namespace,
            "volume",
            "--",
            "tar",
            "-C",
            RELEASE_DIR,
            "-cf",
            "-",
            ".",
        ]
        archive = subprocess.run(command, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(target, filter="data")
        return target

    def manifest(self) -> str:
        """YAML of what is applied."""
        return build_kustomization(self.site.overlay.with_release("a").write(self.directory / "built"))


def predictor_at(pod: Mapping[str, Any]) -> PodPredictor:
    """How a pod is reached from its node."""
    return PodPredictor(f"http://{pod['status']['podIP']}:8080", pod["metadata"]["uid"])


@contextmanager
def deployed(features: Features, directory: Path) -> Iterator[ServedOverlay]:
    """Serve release a by all predictors that the loads will have, and take all of it away at the end."""
    with own_namespace(features, "bench", directory) as installation:
        spec = {
            "predictor": {"scaleTarget": 1, "annotations": SCALING},
            "transformer": {"minReplicas": 1, "maxReplicas": 1},
        }
        values = {"slots": str(SLOTS), "groupSize": "1", "groupsInFlight": str(GROUPS_IN_FLIGHT)}
        overlay = Overlay("laptop", installation.namespace, values, spec=spec, environment=ENVIRONMENT)
        site = Site(installation, overlay)
        installation.create_claim(overlay)
        yield ServedOverlay(site, directory).with_predictors(MOST_PODS, MOST_PODS)


def autoscaler_settings() -> dict[str, str]:
    """The data of the cluster's ConfigMap ``config-autoscaler``, without its example."""
    (found,) = documents(
        "configmap", "-n", "knative-serving", "--field-selector=metadata.name=config-autoscaler"
    )
    return {key: value for key, value in (found.get("data") or {}).items() if not key.startswith("_")}
