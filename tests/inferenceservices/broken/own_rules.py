"""What we ask for ourselves."""

from __future__ import annotations

from tests.inferenceservices.broken import (
    C0,
    MOUNT,
    NOTES,
    PRE,
    STANDARD,
    T0,
    TERM,
    TRA,
    Broken,
    broke,
    volume,
)
from tests.inferenceservices.documents import REMOVE

CLAIM = "PersistentVolumeClaim|spec|accessModes"

BROKEN = (
    broke("read-only-release", C0 + "volumeMounts|0|readOnly"),
    broke("read-only-release", T0 + "volumeMounts|0|readOnly"),
    broke("read-only-release", PRE + "volumes|0|persistentVolumeClaim|readOnly"),
    broke("read-only-release", NOTES + "storage.kserve.io/readonly", "false"),
    broke("release-mounted", C0 + "env|0|value", "/releases/a"),
    *(
        broke("health-probes", C0 + probe, also=probe)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    ),
    broke("health-probes", C0 + "readinessProbe|httpGet|path", "/", also="httpGet"),
    broke("health-probes", C0 + "livenessProbe|timeoutSeconds", also="timeoutSeconds"),
    broke("startup-time", C0 + "startupProbe|failureThreshold", 3, also="gives up"),
    broke("startup-time", PRE + "annotations", also="progress-deadline"),
    broke(
        "startup-time",
        PRE + "annotations|serving.knative.dev/progress-deadline",
        "forever",
        also="progress-deadline",
    ),
    broke(
        "startup-time",
        TRA + "annotations|serving.knative.dev/progress-deadline",
        "1400s",
        also="shorter than",
    ),
    broke("request-timeout", PRE + "timeout", also="set timeout"),
    broke("request-timeout", PRE + "timeout", 300, also="longer than"),
    broke("request-timeout", T0 + "env|3|value", "60", also="as long as"),
    broke("work-units", C0 + "env|3", {"name": "YIWEN_SLOTS", "value": "many"}, also="whole numbers"),
    broke("work-units", C0 + "env|3", {"name": "YIWEN_SLOTS", "value": "3"}, also="one group fills"),
    broke("work-units", C0 + "env|3", {"name": "YIWEN_SLOTS", "value": "32"}, also="slots stay empty"),
    broke("work-units", C0 + "env|3", {"name": "YIWEN_SLOTS", "value": "8"}, also="wait longer"),
    broke("work-units", PRE + "scaleTarget", 100, also="from 2 to 16"),
    broke("work-units", PRE + "containerConcurrency", 4, also="0 or 16"),
    broke("timeout-limit", PRE + "timeout", 401),
    broke("drain-time", C0 + "env|2|value", "380"),
    broke("drain-time", PRE + "terminationGracePeriodSeconds", base=STANDARD, also="killed"),
    broke("drain-time", C0 + "lifecycle", base=STANDARD, also="preStop"),
    broke("run-as-non-root", C0 + "securityContext|runAsNonRoot", False, also="runAsNonRoot"),
    broke("run-as-non-root", C0 + "securityContext|runAsUser", 0, also="runAsUser"),
    broke("run-as-non-root", C0 + "securityContext|runAsGroup", also="runAsGroup"),
    Broken("read-only-secrets", {**volume("secret", {"secretName": "a"}), MOUNT + "|readOnly": False}),
    Broken("read-only-secrets", {**volume("configMap", {"name": "a"}), MOUNT + "|readOnly": REMOVE}),
    broke("lost-nodes", PRE + "tolerations|1", also="not-ready"),
    broke("lost-nodes", TRA + "tolerations|2", also="unreachable"),
    broke("request-timeout", C0 + "env|1", also="beside timeout"),
    broke("drain-time", C0 + "env|2|value", "60", also="as long as"),
    broke("read-only-root", C0 + "securityContext|readOnlyRootFilesystem"),
    broke("privileges", C0 + "securityContext|allowPrivilegeEscalation"),
    broke("privileges", C0 + "securityContext|capabilities", also="ALL"),
    broke("seccomp", C0 + "securityContext|seccompProfile"),
    broke("host-access", PRE + "hostNetwork", True),
    Broken("host-access", volume("hostPath", {"path": "/"})),
    broke("service-account", PRE + "serviceAccountName"),
    broke("service-account", PRE + "automountServiceAccountToken"),
    broke("literal-credential", C0 + "env|4", {"name": "HF_TOKEN", "value": "abc"}),
    broke("literal-credential", C0 + "env|4", {"name": "STORE", "value": "redis://me:word@host"}),
    broke("resource-limits", C0 + "resources"),
    broke("gpu-toleration", PRE + "tolerations"),
    broke("gpu-affinity", PRE + "affinity"),
    broke("gpu-affinity", TERM + "0"),
    broke("mig-affinity", TERM + "1", also="mig.strategy In"),
    broke("mig-affinity", TERM + "2", also="mig.config.state"),
    broke("mig-affinity", TERM + "3", also=".count Exists"),
    Broken(
        "mig-affinity",
        {
            C0 + f"resources|{side}": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}
            for side in ("requests", "limits")
        }
        | {TERM + "1": {"key": "nvidia.com/gpu.count", "operator": "Exists"}},
        also="NotIn [single]",
    ),
    broke("default-deny", "NetworkPolicy|spec|egress", [{}]),
    broke("default-deny", "NetworkPolicy|metadata|namespace", "other"),
    broke("selectors", "PodDisruptionBudget|spec|selector", {"matchLabels": {"app": "other"}}),
    broke(
        "disruption-budget",
        "PodDisruptionBudget|spec|selector",
        {"matchLabels": {"app": "predictor"}},
        also="has no",
    ),
    broke("disruption-budget", "PodDisruptionBudget|spec|maxUnavailable", 0, also="maxUnavailable"),
    broke("claim-access", CLAIM, also="accessModes"),
    broke("claim-access", CLAIM, ["ReadWriteOnce"], also="podAffinity"),
    broke("claim-access", "PersistentVolumeClaim|metadata|name", "other", also="not here"),
    broke("release-service", PRE + "labels|yiwen/release", also="needs the label"),
    broke("release-service", T0 + "env|4|value", "tags", also="YIWEN_PREDICTOR_DISCOVERY"),
    broke("release-service", "Service|metadata|name", "other", also="add the Service"),
    broke("release-service", "Service|spec|selector|yiwen/release", also="by labels"),
    broke("release-service", "Service|spec|selector|app", "other", also="by labels"),
    broke("release-service", "Service|spec|ports|0|targetPort", 8080, also="targetPort 8012"),
    broke("release-service", "Service|spec|ports|0|targetPort", 8012, base=STANDARD, also="targetPort 8080"),
    Broken(
        "same-node",
        {
            component + "affinity|podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]
            }
            for component in (PRE, TRA)
        }
        | {TRA + "tolerations": []},
    ),
)
