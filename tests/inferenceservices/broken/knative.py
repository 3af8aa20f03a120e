"""What Knative refuses, with its flags and without."""

from __future__ import annotations

from tests.inferenceservices.broken import (
    C0,
    PRE,
    SIDECAR,
    Broken,
    broke,
    volume,
)
from tests.inferenceservices.documents import REMOVE

FEATURES = (
    *(
        broke("feature-flags", PRE + field_, value, also=f"podspec-{flag}")
        for field_, value, flag in (
            ("nodeSelector", {"a": "b"}, "nodeselector"),
            ("runtimeClassName", "nvidia", "runtimeclassname"),
            ("securityContext", {"fsGroup": 1}, "securitycontext"),
            ("initContainers", [SIDECAR], "init-containers"),
            ("schedulerName", "volcano", "schedulername"),
            ("priorityClassName", "high", "priorityclassname"),
            ("dnsPolicy", "Default", "dnspolicy"),
            ("dnsConfig", {"searches": ["a"]}, "dnsconfig"),
            ("hostIPC", True, "hostipc"),
            ("hostPID", True, "hostpid"),
            ("hostNetwork", True, "hostnetwork"),
            ("shareProcessNamespace", True, "shareprocessnamespace"),
            ("hostAliases", [{"ip": "10.0.0.1"}], "hostaliases"),
        )
    ),
    broke("feature-flags", PRE + "volumes|0|persistentVolumeClaim|readOnly", also="persistent-volume-write"),
    Broken("feature-flags", volume("hostPath", {"path": "/dev"}), also="volumes-hostpath"),
    Broken("feature-flags", volume("csi", {"driver": "a"}), also="volumes-csi"),
    Broken("feature-flags", volume("ephemeral", {}), also="volumes-ephemeral"),
    Broken("feature-flags", volume("image", {"reference": "a"}), also="volumes-image"),
    broke(
        "feature-flags",
        C0 + "env|4",
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        also="podspec-fieldref",
    ),
    broke("feature-flags", C0 + "securityContext|capabilities|add", ["SYS_PTRACE"], also="addcapabilities"),
    broke(
        "feature-flags", C0 + "volumeMounts|0|mountPropagation", "HostToContainer", also="mount-propagation"
    ),
    broke(
        "feature-flags",
        PRE + "containers|1",
        {**SIDECAR, "livenessProbe": {"tcpSocket": {"port": 9000}}},
        also="multi-container-probing",
    ),
)

NEVER_ALLOWED = (
    *(
        broke("knative-forbidden-field", PRE + field_, value, also=field_)
        for field_, value in (
            ("terminationGracePeriodSeconds", 30),
            ("restartPolicy", "Always"),
            ("hostname", "a"),
            ("nodeName", "a"),
            ("readinessGates", []),
            ("resourceClaims", []),
            ("activeDeadlineSeconds", 1),
        )
    ),
    broke("knative-forbidden-field", C0 + "lifecycle", {"preStop": {}}, also="lifecycle"),
    broke(
        "knative-forbidden-field",
        PRE + "securityContext",
        {"fsGroupChangePolicy": "Always"},
        also="fsGroupChange",
    ),
    broke("knative-container-security", C0 + "securityContext|privileged", True),
    broke("knative-container-security", C0 + "securityContext|runAsUser", -1, also="negative"),
    broke("knative-container-security", C0 + "securityContext|seLinuxOptions", {}, also="seLinuxOptions"),
    broke("knative-token-mount", PRE + "automountServiceAccountToken", True),
    broke("knative-resource-claim", C0 + "resources|claims", [{"name": "gpu"}]),
    broke("knative-port", C0 + "ports|1", {"containerPort": 8081, "name": "h2c"}, also="one port"),
    broke("knative-port", C0 + "ports|0|name", "http", also="http1 or h2c"),
    *(
        broke("knative-port", C0 + "ports|0|containerPort", p, also=str(p))
        for p in (8008, 8012, 8013, 8022, 9090, 9091)
    ),
    broke("knative-port", C0 + "ports|0|protocol", "UDP", also="TCP"),
    *(
        broke("knative-mount", C0 + "volumeMounts|1|mountPath", p, also="reserved")
        for p in ("/", "/dev", "/dev/log")
    ),
    broke("knative-mount", C0 + "volumeMounts|1|mountPath", "/mnt/models/", also="where another is"),
    broke("knative-mount", C0 + "volumeMounts|1|subPathExpr", "$(A)", also="subPathExpr"),
    broke("knative-mount", C0 + "volumeMounts|1|name", "other", also="no volume"),
    broke(
        "knative-mount",
        PRE + "volumes|1",
        {"name": "scratch", "secret": {"secretName": "a"}},
        also="this kind",
    ),
    broke("knative-mount", C0 + "volumeMounts|0|readOnly", also="as its volume"),
    broke("knative-unmounted-volume", C0 + "volumeMounts|1"),
    *(
        broke("knative-reserved-variable", C0 + "env|4", {"name": name, "value": "1"}, also=name)
        for name in ("PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION")
    ),
    Broken(
        "knative-probe",
        {C0 + "readinessProbe|periodSeconds": REMOVE, C0 + "readinessProbe|failureThreshold": 3},
        also="periodSeconds",
    ),
    broke("knative-probe", C0 + "livenessProbe|httpGet|port", 8090, also="8080"),
    broke("knative-probe", C0 + "ports|0|name", "h2c", also="HTTP/2"),
    broke(
        "knative-probe",
        PRE + "initContainers",
        [{**SIDECAR, "readinessProbe": {"tcpSocket": {"port": 1}}}],
        also="init container",
    ),
    broke("knative-spread", PRE + "topologySpreadConstraints"),
)
