"""Reads and changes what a rollout in Standard mode is made of: InferenceServices, their Deployments, routes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from inferenceservices.cluster import SERVICES, ObjectNotFound
from inferenceservices.cluster_snapshot import ClusterReader
from inferenceservices.release_change import release_service
from inferenceservices.rollout import merge
from inferenceservices.standard_rollout import Action, StandardStep
from inferenceservices.standard_state import StandardRollout, canary_name, leads_to, name_of

GATEWAY_API = "gateway.networking.k8s.io"
ROUTES = {"HTTPRoute": "httproutes", "GRPCRoute": "grpcroutes"}
"""Plural by kind, in the order in which they are listed and changed."""


class RolloutCluster(ClusterReader):
    """A client for rollouts in Standard mode."""

    def standard_rollout(self, name: str) -> StandardRollout:
        """The rollout of the InferenceService of that name, as it is now.

        Raises:
            ClusterError: it is not there, or the cluster does not answer.
        """
        stable = self.inference_service(name)
        try:
            canary = self.inference_service(canary_name(name))
        except ObjectNotFound:
            canary = None
        prefixes = (f"{name}-predictor", f"{name}-transformer", f"{canary_name(name)}-")
        deployments = {
            name_of(each): each
            for each in self.grouped("apps", "v1", "deployments", everywhere=False)
            if name_of(each).startswith(prefixes)
        }
        routes = [
            {**each, "kind": kind}
            for kind, plural in ROUTES.items()
            for each in self.grouped(GATEWAY_API, "v1", plural, everywhere=False)
            if leads_to(each, name)
        ]
        return StandardRollout(stable, canary, deployments, tuple(routes), self.config_map(_memory(name)))

    def take(self, rollout: StandardRollout, step: StandardStep) -> None:
        """Carry out a step.

        Raises:
            Conflict: what it changes was changed since it was read.
            ClusterError: the API server refused it, or does not answer.
        """
        if step.before:
            self.write_config_map(_memory(rollout.name), step.before, rollout.stable)
        if step.action is Action.CREATE:
            self._create_object("InferenceService", SERVICES, step.body)
        elif step.action is Action.CHANGE:
            if step.name == rollout.name and (service := _release_service(rollout, step)):
                self.create_service(service)
            self._patch(step.name, step.body)
        elif step.action is Action.ROUTE:
            for route, patch in step.routes:
                kind = str(route["kind"])
                self._patch_object(kind, (GATEWAY_API, "v1", ROUTES[kind]), name_of(route), patch)
        elif step.action is Action.DELETE:
            with suppress(ObjectNotFound):
                self._delete_object("InferenceService", SERVICES, step.name)


def _memory(name: str) -> str:
    """Name of the ConfigMap with what an InferenceService had before its promotions."""
    return f"{name}-rollout-before"


def _release_service(rollout: StandardRollout, step: StandardStep) -> dict[str, Any]:
    return release_service(merge(rollout.stable, step.body))
