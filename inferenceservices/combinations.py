"""The combinations of kustomize components that are built and checked, and a kustomization of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HARDWARE = (
    "cpu",
    "mig-a100-1g10gb",
    "mig-a100-3g40gb",
    "mig-h200-1g18gb",
    "mig-h200-3g71gb",
    "full-gpu",
    "amd-mi300",
)
STORAGE = ("storage-rwx", "storage-rwo")
EVERYWHERE = ("topology", "redis", "redis-tls", "monitoring", "istio", "mtls", "verify")
"""Components for both modes. ``verify`` and ``values`` copy values, so an overlay's own come before them."""
KNATIVE_EXTRAS = {
    "plain": (),
    "all": (*EVERYWHERE, "canary"),
    "idle": ("redis", "scale-to-zero", "canary"),
}
STANDARD_EXTRAS = {"plain": (), "all": (*EVERYWHERE, "gateway-api", "multi-cluster")}

_HEAD = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"


@dataclass(frozen=True, slots=True)
class Combination:
    """Components in the order in which an overlay lists them."""

    components: tuple[str, ...]

    @property
    def name(self) -> str:
        """The components, joined by ``+``."""
        return "+".join(self.components)


def combinations() -> Iterator[Combination]:
    """Every hardware with every storage in both modes, without and with extras, and the edge."""
    for hardware in HARDWARE:
        for storage in STORAGE:
            for extras in KNATIVE_EXTRAS.values():
                yield Combination(("knative", hardware, storage, *extras, "values"))
            for extras in STANDARD_EXTRAS.values():
                yield Combination(("standard", hardware, storage, *extras, "values"))
            if hardware not in ("cpu", "amd-mi300"):
                yield Combination(("knative", hardware, storage, "values", "serving-runtime"))
    yield Combination(("edge", "cpu", "storage-rwo", "values"))
    yield Combination(("edge", "cpu", "storage-rwo", "redis", "redis-tls", "monitoring", "verify", "values"))


def write_kustomization(combination: Combination, root: Path, directory: Path) -> None:
    """Write the kustomization of a combination.

    Args:
        combination: base and components.
        root: the folder inferenceservices/.
        directory: that ``kustomization.yaml`` is written into.
    """
    away = os.path.relpath(root.resolve(), directory.resolve())
    lines = [f"{_HEAD}resources:\n  - {away}/base\ncomponents:\n"]
    lines += [f"  - {away}/components/{component}\n" for component in combination.components]
    (directory / "kustomization.yaml").write_text("".join(lines), encoding="utf-8")
