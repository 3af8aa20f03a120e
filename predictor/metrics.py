"""The predictor's Prometheus metrics. Labels are bounded; nothing here ever holds text or token ids."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_STEP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class PredictorMetrics:
    """All of them, bound to one release."""

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
        self.healthy = gauge("healthy", "1 while steps succeed, 0 after three failures in a row")
        self.step_seconds = histogram("step_seconds", "Seconds of one step", _STEP_BUCKETS)
        self.runner_seconds = histogram(
            "runner_seconds", "Seconds of one step inside the runner", _STEP_BUCKETS
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
            "Sequences that ended, by how: stop, length, deadline, cancelled, failed",
            ["release", "end"],
            registry=registry,
        )
        self.step_failures = Counter(
            "yiwen_predictor_step_failures_total",
            "Steps that failed in the runner",
            ["release"],
            registry=registry,
        ).labels(release)
        self._runner_info = Gauge(
            "yiwen_predictor_runner_info",
            "Always 1; the labels say what executes the decoder and why that was chosen",
            ["release", "backend", "precision", "reason"],
            registry=registry,
        )
        self._release = release

    def sequence_ended(self, end: str) -> None:
        """Count one ended sequence."""
        self._sequences.labels(self._release, end).inc()

    def runner_chosen(self, *, backend: str, precision: str, reason: str) -> None:
        """Publish what executes the decoder."""
        self._runner_info.labels(self._release, backend, precision, reason).set(1)
