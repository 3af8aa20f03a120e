"""The transformer's Prometheus metrics; docs/metrics.md lists them."""

from transformer.metrics.cache_metrics import CacheTier, SingleFlightMetrics, TierMetrics
from transformer.metrics.routing_metrics import GATEWAY_STATUSES, RoutingMetrics
from transformer.metrics.series import Series
from transformer.metrics.transformer_metrics import CallerMetrics, TransformerMetrics

__all__ = [
    "GATEWAY_STATUSES",
    "CacheTier",
    "CallerMetrics",
    "RoutingMetrics",
    "Series",
    "SingleFlightMetrics",
    "TierMetrics",
    "TransformerMetrics",
]
