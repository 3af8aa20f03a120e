"""The predictor's Prometheus metrics. Labels are bounded; no metric holds text or token ids.

Device utilization is measured here and not left to NVIDIA's DCGM exporter: DCGM has none (``DCGM_FI_DEV_GPU_UTIL``)
for a MIG slice, and other devices have no DCGM. In PromQL::

    rate(yiwen_predictor_busy_seconds_total[1m])                        share of time with a step in flight, 0 to 1
    rate(yiwen_predictor_tokens_total{kind="generated"}[1m])            tokens per second
    yiwen_predictor_kv_bytes - yiwen_predictor_kv_bytes_used            bytes of K/V cache free

``waiting_sequences``, ``slots_used`` and ``kv_cache_usage`` are the three gauges that the endpoint picker of the
Gateway API inference extension reads, with vLLM's meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_STEP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_WAIT_BUCKETS = (
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0
)  # fmt: skip
_TOKEN_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
SEQUENCE_ENDS = ("stop", "length", "repetition", "deadline", "cancelled", "failed")
"""Values of the label ``end``."""


class EngineMetrics:
    """The metrics of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"yiwen_predictor_{name}", text, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"yiwen_predictor_{name}_total", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"yiwen_predictor_{name}", text, registry=registry, buckets=buckets)

        self.slots = gauge("slots", "Sequences that can decode together")
        self.slots_used = gauge("slots_used", "Sequences that are decoding now")
        self.waiting_sequences = gauge("waiting_sequences", "Sequences waiting for a slot")
        self.waiting_tokens = gauge("waiting_tokens", "Prompt and requested tokens waiting for a slot")
        self.kv_cache_usage = gauge(
            "kv_cache_usage",
            "Share of the K/V cache that running sequences hold, 0 to 1. A sequence holds a whole slot, so at 1 the "
            "next one must wait",
        )
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
        self.time_to_first_token_seconds = histogram(
            "time_to_first_token_seconds",
            "Seconds from the arrival of a sequence to its first token, its wait for a slot included",
            _WAIT_BUCKETS,
        )
        self.time_per_output_token_seconds = histogram(
            "time_per_output_token_seconds",
            "Seconds per token after the first one: the mean over one sequence",
            _STEP_BUCKETS,
        )
        self.sequence_prompt_tokens = histogram(
            "sequence_prompt_tokens", "Tokens of a sequence's prompt, when it starts", _TOKEN_BUCKETS
        )
        self.sequence_generated_tokens = histogram(
            "sequence_generated_tokens",
            "Tokens generated for a sequence that ended, its stop token included",
            _TOKEN_BUCKETS,
        )
        tokens = counter("tokens", "Tokens processed: prompt tokens read and tokens generated", "kind")
        self.prompt_tokens = tokens.labels("prompt")
        self.generated_tokens = tokens.labels("generated")
        sequences = counter("sequences", f"Sequences that ended, by how: {', '.join(SEQUENCE_ENDS)}", "end")
        self._sequences = {end: sequences.labels(end) for end in SEQUENCE_ENDS}
        self.step_failures = counter("step_failures", "Steps that failed in the runner")
        self.busy_seconds = counter(
            "busy_seconds",
            "Seconds with at least one step in flight; its rate is the share of time the runner is busy",
        )
        self._launches = counter(
            "graph_launches",
            "Runs over the decoder, by kind: graph (a recorded CUDA graph was replayed) or eager; TensorRT only",
            "kind",
        )
        self._launches_counted: dict[str, int] = {}
        self._runner_info = Gauge(
            "yiwen_predictor_runner_info",
            "Always 1; the labels say what executes the decoder and why that was chosen",
            ["backend", "plan", "precision", "reason"],
            registry=registry,
        )

    def sequence_ended(self, end: str) -> None:
        """Count one ended sequence."""
        self._sequences[end].inc()

    def count_launches(self, launches: Mapping[str, int]) -> None:
        """Publish a runner's own counters, by kind."""
        for kind, count in launches.items():
            self._launches.labels(kind).inc(count - self._launches_counted.get(kind, 0))
            self._launches_counted[kind] = count

    def runner_chosen(self, *, backend: str, precision: str, reason: str, plan: str = "") -> None:
        """Publish what executes the decoder.

        Args:
            backend: ``onnxruntime`` or ``tensorrt``.
            precision: of the weights.
            reason: why the backend was chosen.
            plan: name of the TensorRT plan, if it runs one.
        """
        self._runner_info.labels(backend, plan, precision, reason).set(1)
