"""What KServe's webhook refuses."""

from __future__ import annotations

from tests.inferenceservices.broken import (
    C0,
    ISVC,
    KNATIVE,
    MODE,
    MODEL,
    NOTES,
    PRE,
    STANDARD,
    TRA,
    Broken,
    broke,
)
from tests.inferenceservices.documents import REMOVE

BROKEN = (
    broke("name", ISVC + "metadata|name", "1yiwen", also="begin with a letter"),
    broke("name", ISVC + "metadata|name", "y" * 60, also="at most"),
    broke("deployment-mode", MODE),
    broke("deployment-mode", MODE, "Fast"),
    broke("autoscaler-class", NOTES + "serving.kserve.io/autoscalerClass", "kpa"),
    broke("python-path", C0 + "env|4", {"name": "PYTHONPATH", "value": "/opt"}),
    broke("python-path", PRE + "model|env", [{"name": "PYTHONPATH", "value": "/opt"}], MODEL),
    broke(
        "multi-node", PRE + "workerSpec", {"containers": [{"name": "a"}, {"name": "b"}]}, also="one container"
    ),
    broke("multi-node", PRE + "workerSpec", {"pipelineParallelSize": 0}, also="pipelineParallelSize"),
    broke("multi-node", PRE + "workerSpec", {"tensorParallelSize": 0}, also="tensorParallelSize"),
    Broken(
        "multi-node",
        {PRE + "workerSpec": {}, PRE + "model|env": [{"name": "TENSOR_PARALLEL_SIZE", "value": "2"}]},
        MODEL,
        "TENSOR_PARALLEL_SIZE",
    ),
    Broken(
        "multi-node",
        {PRE + "workerSpec": {}, PRE + "model|storageUri": "s3://a/b"},
        MODEL,
        "pvc:// or oci://",
    ),
    Broken(
        "multi-node", {PRE + "workerSpec": {}, PRE + "model|storageUri": REMOVE}, MODEL, "pvc:// or oci://"
    ),
    broke("multi-node", PRE + "workerSpec", {}, MODEL, "autoscalerClass to none"),
    Broken(
        "multi-node",
        {PRE + "workerSpec": {}, PRE + "model|resources": {"limits": {"example.com/gpu": "1"}}},
        MODEL,
        "no GPU example.com/gpu",
    ),
    broke("model-container-name", PRE + "model|name", "main", MODEL),
    broke("storage-uris", PRE + "storageUris", [{"uri": "pvc://a/b"}], MODEL, "not both"),
    broke("storage-uris", TRA + "storageUris", [{"uri": ""}], also="no uri"),
    broke("storage-uris", TRA + "storageUris", [{"uri": "s3://a", "mountPath": "/"}], also="below /"),
    broke("storage-uris", TRA + "storageUris", [{"uri": "s3://a", "mountPath": "models"}], also="absolute"),
    broke(
        "storage-uris",
        TRA + "storageUris",
        [{"uri": "s3://a", "mountPath": "/mnt/../etc"}],
        also="without ..",
    ),
    broke(
        "storage-uris",
        TRA + "storageUris",
        [{"uri": "s3://a", "mountPath": "/mnt/a"}, {"uri": "s3://b", "mountPath": "/srv/b"}],
        also="share a directory",
    ),
    broke(
        "storage-uris",
        TRA + "storageUris",
        [
            *({"uri": f"s3://{name}", "mountPath": f"/mnt/{name}"} for name in "ab"),
            *({"uri": f"pvc://{name}", "mountPath": "/mnt/c"} for name in "ab"),
        ],
        also="same mountPath",
    ),
    Broken(
        "confidential",
        {PRE + "model|confidential": {"enabled": True}, PRE + "model|storageUri": REMOVE},
        MODEL,
        "needs storageUri",
    ),
    broke(
        "confidential",
        PRE + "model|confidential",
        {"enabled": True, "resourceId": "kbs:///a/b"},
        MODEL,
        "kbs:///",
    ),
    broke("one-implementation", PRE + "model", {"modelFormat": {"name": "yiwen"}}),
    broke("one-implementation", PRE + "containers"),
    broke("one-implementation", TRA + "containers", also="transformer"),
    broke("replica-bounds", PRE + "containerConcurrency", -1),
    broke("replica-bounds", PRE + "minReplicas", -1),
    broke("replica-bounds", PRE + "maxReplicas", -1),
    broke("replica-bounds", PRE + "minReplicas", 3, also="exceeds"),
    broke("logger", PRE + "logger", {"mode": "some"}, also="mode"),
    broke("logger", PRE + "logger", {"storage": {"path": "/logs"}}, also="lacks"),
    broke("scaling", PRE + "deploymentStrategy", {"type": "Recreate"}, also="deploymentStrategy"),
    broke("scaling", PRE + "scaleMetric", "cpu", also="concurrency or rps"),
    Broken("scaling", {PRE + "scaleMetric": "rps", PRE + "scaleTarget": 0}, also="per second"),
    Broken(
        "scaling",
        {NOTES + "autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev", PRE + "scaleMetric": "rps"},
        also="cpu or memory",
    ),
    Broken(
        "scaling",
        {
            NOTES + "serving.kserve.io/autoscalerClass": "hpa",
            PRE + "scaleMetric": "memory",
            PRE + "scaleTarget": 200,
        },
        STANDARD,
        "at most 100",
    ),
    Broken(
        "scaling",
        {NOTES + "serving.kserve.io/autoscalerClass": "hpa", PRE + "scaleTarget": 0},
        STANDARD,
        "1 or more",
    ),
    Broken(
        "scaling",
        {
            NOTES + "serving.kserve.io/autoscalerClass": "hpa",
            PRE + "autoScaling": {"metrics": [{"type": "External"}]},
        },
        STANDARD,
        "type Resource",
    ),
    *(
        Broken(
            "scaling",
            {NOTES + "serving.kserve.io/autoscalerClass": "keda", PRE + path: value},
            STANDARD,
            also,
        )
        for path, value, also in (
            ("scaleMetric", "cpu", "remove scaleMetric"),
            ("autoScaling", {"metrics": [{"type": "Object"}]}, "must be of the type"),
            ("autoScaling", {"metrics": [{"type": "External", "external": {"metric": {}}}]}, "metric.query"),
            (
                "autoScaling",
                {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Value"}}}]},
                "target of cpu",
            ),
            (
                "autoScaling",
                {
                    "metrics": [
                        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Value"}}}
                    ]
                },
                "target of memory",
            ),
            (
                "autoScaling",
                {
                    "metrics": [
                        {
                            "type": "Resource",
                            "resource": {
                                "name": "memory",
                                "target": {"type": "AverageValue", "averageValue": "100Ki"},
                            },
                        }
                    ]
                },
                "1Mi",
            ),
            (
                "autoScaling",
                {"metrics": [{"type": "Resource", "resource": {"name": "gpu"}}]},
                "cpu or memory",
            ),
        )
    ),
    Broken("canary-percent", {PRE + "canaryTrafficPercent": 101, TRA + "canaryTrafficPercent": 101}),
    broke("canary-together", PRE + "canaryTrafficPercent", 10, also="the same"),
    Broken(
        "canary-together", {PRE + "canaryTrafficPercent": 10, TRA + "canaryTrafficPercent": 10}, also="tag"
    ),
    Broken(
        "canary-together",
        {PRE + "canaryTrafficPercent": 10, TRA + "canaryTrafficPercent": 10},
        STANDARD,
        "ignored",
    ),
    *(
        broke("standard-canary", ISVC + "spec|canary", canaries, base, also)
        for canaries, base, also in (
            ([{"predictor": {"name": "b"}}], KNATIVE, "Standard mode"),
            ([{"predictor": {"name": "b"}}], STANDARD, "past the transformer"),
            ([{"predictor": {"name": "b"}}], STANDARD, "with a model"),
            ([{"predictor": {}}], STANDARD, "a name"),
            ([{"predictor": {"name": "b"}, "trafficPercent": 10}] * 2, STANDARD, "a name"),
            ([{"predictor": {"name": "b"}, "trafficPercent": 101}], STANDARD, "trafficPercent"),
            ([{"predictor": {"name": n}, "trafficPercent": 60} for n in "bc"], STANDARD, "together"),
            ([{"predictor": {"name": "b", "maxReplicas": 2}}], STANDARD, "remove maxReplicas"),
            ([{"predictor": {"name": "b", "workerSpec": {"containers": []}}}], STANDARD, "remove workerSpec"),
            ([{"predictor": {"name": "b", "minReplicas": 2}}], STANDARD, "at most"),
        )
    ),
)
