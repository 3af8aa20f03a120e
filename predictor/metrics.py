"""The predictor's Prometheus metrics. Labels are bounded; no metric holds text or token ids.

Device utilization is measured here and not left to NVIDIA's DCGM exporter: DCGM has none (``DCGM_FI_DEV_GPU_UTIL``)
for a MIG slice, and other devices have no DCGM. In PromQL::

    rate(yiwen_predictor_busy_seconds_total[1m])                        share of time with a step in flight, 0 to 1
    rate(yiwen_predictor_tokens_total{kind="generated"}[1m])            tokens per second
    yiwen_predictor_kv_bytes - yiwen_predictor_kv_bytes_used            bytes of K/V cache free
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_STEP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class EngineMetrics:
    """The metrics of one process, labelled with its release."""

    def __init__(self, release: str, registry: CollectorRegistry = REGISTRY) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"yiwen_predictor_{name}", text, ["release"], registry=registry).labels(release)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            metric = Histogram(
                f"yiwen_predictor_{name}", text, ["release"], registry=registry, buckets=buckets
            )
            return metric.labels(release)

        self.slots_total = gauge("slots_total", "Sequences that can decode together")
        self.slots_used = gauge("slots_used", "Sequences that are decoding now")
        self.waiting_sequences = gauge("waiting_sequences", "Sequences waiting for a slot")
        self.waiting_tokens = gauge("waiting_tokens", "Prompt and requested tokens waiting for a slot")
        self.kv_bytes = gauge("kv_bytes", "Bytes of K/V cache allocated")
        self.kv_bytes_used = gauge(
            "kv_bytes_used", "Bytes of K/V cache that hold tokens of running sequences"
        )
        self.healthy = gauge("healthy", "1 while steps succeed, 0 after three failures in a row")
        self.step_seconds = histogram("step_seconds", "Seconds from one step to the next", _STEP_BUCKETS)
        self.runner_seconds = histogram(
            "runner_seconds", "Seconds the runner took for one step", _STEP_BUCKETS
        )
        self.queue_seconds = histogram(
            "queue_seconds", "Seconds a sequence waited before its first step", _WAIT_BUCKETS
        )
        self._tokens = Counter(
            "yiwen_predictor_tokens_total",
            "Tokens processed: prompt tokens read and tokens generated",
            ["release", "kind"],
            registry=registry,
        )
        self.prompt_tokens = self._tokens.labels(release, "prompt")
        self.generated_tokens = self._tokens.labels(release, "generated")
        self._sequences = Counter(
            "yiwen_predictor_sequences_total",
            "Sequences that ended, by how: stop, length, repetition, deadline, cancelled, failed",
            ["release", "end"],
            registry=registry,
        )
        self.step_failures = Counter(
            "yiwen_predictor_step_failures_total",
            "Steps that failed in the runner",
            ["release"],
            registry=registry,
        ).labels(release)
        self.busy_seconds = Counter(
            "yiwen_predictor_busy_seconds_total",
            "Seconds with at least one step in flight; its rate is the share of time the runner is busy",
            ["release"],
            registry=registry,
        ).labels(release)
        self._launches = Counter(
            "yiwen_predictor_graph_launches_total",
            "Runs over the decoder, by kind: graph (a recorded CUDA graph was replayed) or eager",
            ["release", "kind"],
            registry=registry,
        )
        self._launches_counted: dict[str, int] = {}
        self._runner_info = Gauge(
            "yiwen_predictor_runner_info",
            "Always 1; the labels say what executes the decoder and why that was chosen",
            ["release", "backend", "plan", "precision", "reason"],
            registry=registry,
        )
        self._release = release

    def sequence_ended(self, end: str) -> None:
        """Count one ended sequence."""
        self._sequences.labels(self._release, end).inc()

    def count_launches(self, launches: Mapping[str, int]) -> None:
        """Publish a runner's own counters, by kind."""
        for kind, count in launches.items():
            self._launches.labels(self._release, kind).inc(count - self._launches_counted.get(kind, 0))
            self._launches_counted[kind] = count

    def runner_chosen(self, *, backend: str, precision: str, reason: str, plan: str = "") -> None:
        """Publish what executes the decoder.

        Args:
            backend: ``onnxruntime`` or ``tensorrt``.
            precision: of the weights.
            reason: why the backend was chosen.
            plan: name of the TensorRT plan, if it runs one.
        """
        self._runner_info.labels(self._release, backend, plan, precision, reason).set(1)
