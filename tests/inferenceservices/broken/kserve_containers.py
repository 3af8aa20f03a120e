"""What KServe does to containers that are not as it expects them."""

from __future__ import annotations

from tests.inferenceservices.broken import (
    C0,
    COLLOCATED,
    MIG,
    NOTES,
    PRE,
    SIDECAR,
    T0,
    Broken,
    broke,
)

BROKEN = (
    Broken("container-name", {C0 + "name": "main", PRE + "containers|1": SIDECAR}),
    broke("protocol-variable", C0 + "env|4", {"name": "PROTOCOL", "value": "grpc-v2"}),
    broke("workers", T0 + "args|1"),
    broke("workers", C0 + "args|1", "--workers=2"),
    broke("model-name", C0 + "args|0"),
    broke("model-name", T0 + "args|0", "--model_name=model"),
    broke("requests-and-limits", C0 + "resources|limits|cpu"),
    broke("requests-and-limits", T0 + "resources|requests|memory"),
    broke("requests-within-limits", C0 + "resources|requests|memory", "4Gi", also="raise the limit"),
    broke("requests-within-limits", C0 + "resources|requests|memory", "4 GB", also="no quantity"),
    broke("device-resources", C0 + f"resources|requests|{MIG}"),
    broke("device-resources", C0 + f"resources|limits|{MIG}", "2"),
    Broken("device-resources", {C0 + f"resources|{side}|{MIG}": "0.5" for side in ("requests", "limits")}),
    broke("grpc-port", C0 + "ports|0", {"containerPort": 8081, "name": "http1"}),
    broke("worker-gpu-types", PRE + "workerSpec", {"containers": [{"resources": {"limits": {MIG: "1"}}}]}),
    broke("worker-gpu-types", NOTES + "serving.kserve.io/gpu-resource-types", "nvidia.com/mig", also="JSON"),
    broke("gke-accelerator", NOTES + "serving.kserve.io/gke-accelerator", "nvidia-tesla-a100"),
    broke("collocated-ports", PRE + "containers|1", COLLOCATED),
    broke(
        "collocated-arguments",
        PRE + "containers|1",
        {**COLLOCATED, "args": ["--predictor_host=localhost:8080"]},
    ),
    broke(
        "collocated-arguments",
        PRE + "containers|1",
        {**COLLOCATED, "args": ["--http_port=8090", "--grpc_port=0"]},
    ),
    broke(
        "collocated-storage",
        PRE + "containers|1",
        {**COLLOCATED, "env": [{"name": "STORAGE_URI", "value": "pvc://a"}]},
    ),
)
