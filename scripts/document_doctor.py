"""Writes docs/guides/doctor.md: its table of findings is that of inferenceservices/doctor/table.py.

`make check` fails when the page is not what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from textwrap import fill

from generated_page import ROOT, write_or_check

from inferenceservices.doctor.diagnosis import Check
from inferenceservices.doctor.load import SERVER_CHECKS
from inferenceservices.doctor.table import AFTER, BEFORE, URL

PAGE = ROOT / "docs" / "guides" / "doctor.md"

HEAD = """# What is wrong: `yiwen doctor`

`yiwen doctor` says what is wrong, with the evidence and the command that mends it. It changes nothing.

```console
$ yiwen doctor --overlay inferenceservices/overlays/mine   # before: is the cluster ready for this overlay?
$ yiwen doctor yiwen -n yiwen                              # after: why is it not ready, why is it slow?
$ yiwen doctor --url http://localhost:8080                 # a service anywhere, by its URL
```

Each finding has its subject, the name of its check, what was read, and what to do:

```text
Pod/yiwen-predictor-00001-x: its release has no plan that runs on this GPU [plan-missing]
  evidence: predictor: no plan in /mnt/models/releases/a can run: the release holds no TensorRT plan; ...
  fix:      kubectl apply -k inferenceservices/release-jobs/OVERLAY, which builds it on the same kind of slice
```

`--json` prints `checks`, `found` and `unchecked`. Exit codes: 0 nothing was found, 1 something was found, 2 the
cluster or service cannot be reached, or there is no such InferenceService.

## What it reads

It sends GET requests only, to the API server. Of Secrets it reads the names. Logs are read of containers that ended
with an error, their last lines. Metrics are read of up to three pods of each component, through the API server.

With `--url` it reads `/v2`, `/v2/health/ready` and `/metrics` of the transformer, and of the predictor at port 8082
of the same host where the transformer's port is 8080 (`yiwen serve`); give another one with `--predictor-url`.

The rights of a namespace are enough for most checks. What the caller may not read, or cannot be reached, is said as
`could not see`, with the checks that were not made. A Role for all that is in the namespace:

```yaml
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: yiwen-doctor
  namespace: yiwen
rules:
  - apiGroups: [""]
    resources: [pods, events, persistentvolumeclaims, resourcequotas, secrets]
    verbs: [get, list]
  - apiGroups: [""]
    resources: [pods/log, pods/proxy]
    verbs: [get]
  - apiGroups: [serving.kserve.io, keda.sh, autoscaling.internal.knative.dev]
    resources: [inferenceservices, scaledobjects, podautoscalers]
    verbs: [get, list]
```

The right to list Secrets is a right to read them, though doctor does not. `pods/proxy` lets a caller send any request
to the pods. Without these two rights, Secrets and metrics are among what it could not see.
"""

TAIL = """
The checks look at one moment. A pod that has waited for a minute may be on its way; look again. Where an
autoscaler adds nodes, `gpu-node`, `gpu-taken` and `node-small` see only the nodes that are there now. `queue-slow`,
`cache-cold`, `cold-start`, `steps-fail` and `refusals` count since the process started.

A test causes 35 of these faults on a cluster, one after another: [how soon each was
named](../cluster-tests.md#doctor).

This page is written by `python scripts/document_doctor.py` from `inferenceservices/doctor/table.py`.
"""


def page() -> str:
    """The whole page."""
    sections = (
        ("Before: `--overlay DIR`", BEFORE),
        ("After: `NAME`", AFTER),
        ("By its URL: `--url URL`", SERVER_CHECKS),
    )
    parts = [HEAD, *(_table(title, checks) for title, checks in sections)]
    shared = ", ".join(f"`{check.name}`" for check in URL if check not in SERVER_CHECKS)
    return "\n".join(parts) + "\n" + fill(f"And of those above: {shared}.", 120) + "\n" + TAIL


def _table(title: str, checks: Iterable[Check]) -> str:
    rows = "".join(f"| `{c.name}` | {c.fault} | {', '.join(c.needs) or 'nothing more'} |\n" for c in checks)
    return f"## {title}\n\n| check | finds | needs to see |\n|---|---|---|\n{rows}"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __file__))
