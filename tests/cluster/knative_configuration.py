"""The configuration of Knative that the manifests need, applied as docs/guides/manifests.md says."""

from __future__ import annotations

import os
import subprocess

from inferenceservices.check import ROOT


def configure_knative(namespace: str = "knative-serving") -> None:
    """Merge the settings of knative/ into the ConfigMaps of a namespace."""
    environ = {**os.environ, "KNATIVE_NAMESPACE": namespace}
    done = subprocess.run(
        [ROOT.parent / "scripts" / "configure-knative"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
