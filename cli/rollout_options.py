"""Options of the commands of `yiwen rollout`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Argument, Option


@dataclass(frozen=True, kw_only=True)
class RolloutOptions:
    """Options of every command of `yiwen rollout`."""

    name: Annotated[str, Argument(metavar="NAME", help="of the InferenceService")]
    namespace: Annotated[
        str | None,
        Option("-n", "--namespace", help="of the InferenceService (that of the kubeconfig's context)"),
    ] = None
    context: Annotated[str | None, Option(help="of the kubeconfig (the current one)")] = None
    timeout: Annotated[float, Option(metavar="S", help="of one call to the cluster, seconds")] = 10.0


@dataclass(frozen=True, kw_only=True)
class StatusOptions(RolloutOptions):
    """Options of `yiwen rollout status`."""

    json: Annotated[bool, Option("--json", help="print JSON")] = False


@dataclass(frozen=True, kw_only=True)
class ChangeOptions(RolloutOptions):
    """Options of the commands that change the InferenceService."""

    dry_run: Annotated[bool, Option("--dry-run", help="print the patch (JSON) and change nothing")] = False
    wait: Annotated[
        str, Option(metavar="DURATION", help="longest time that pods are waited for, where a step needs them")
    ] = "20m"

    @property
    def wait_s(self) -> float:
        """``wait``, seconds.

        Raises:
            ClusterError: it is no duration.
        """
        from inferenceservices.cluster import ClusterError
        from protocol.kubernetes.durations import parse_duration

        try:
            return parse_duration(self.wait)
        except ValueError as error:
            raise ClusterError(f"--wait: {error}") from None


@dataclass(frozen=True, kw_only=True)
class SetOptions(ChangeOptions):
    """Options of `yiwen rollout set`."""

    percent: Annotated[int, Option(metavar="N", help="of the requests, to the newest release (0 to 100)")]
    release: Annotated[
        str, Option(metavar="DIR", help="directory of the new release on the volume", show_default=False)
    ] = ""
    storage: Annotated[
        str, Option(metavar="URI", help="storageUri of a predictor with a model", show_default=False)
    ] = ""
    predictor_image: Annotated[
        str, Option(metavar="IMAGE", help="of the new predictor", show_default=False)
    ] = ""
    transformer_image: Annotated[
        str, Option(metavar="IMAGE", help="of the new transformer", show_default=False)
    ] = ""
    allow_pending: Annotated[
        bool, Option("--allow-pending", help="start although no node has the devices free")
    ] = False


@dataclass(frozen=True, kw_only=True)
class RunOptions(RolloutOptions):
    """Options of `yiwen rollout run`."""

    to: Annotated[
        str, Option(metavar="N,N,...", help="percentages that the canary gets one after another")
    ] = "10,50,100"
    every: Annotated[str, Option(metavar="DURATION", help="between two looks, such as 5m")] = "5m"
    start: Annotated[
        str, Option(metavar="DURATION", help="in which the canary must become ready, or it is rolled back")
    ] = "20m"
    looks: Annotated[int, Option(metavar="N", min=1, help="at one percentage, without a decision")] = 12
    samples: Annotated[
        int, Option(metavar="N", min=1, help="requests of each release that a promotion needs")
    ] = 200
    confidence: Annotated[
        float,
        Option(metavar="D", min=0, max=1, help="tolerated decrease of the mean confidence; 1 leaves it out"),
    ] = 0.05
    prometheus: Annotated[
        str, Option(metavar="URL", help="read the metrics there (from the pods)", show_default=False)
    ] = ""
