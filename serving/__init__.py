"""The server of both services: settings, the model interface, REST and gRPC over the KServe SDK.

It replaces the parts of the KServe SDK 0.21 that do not fit (errors, health, drain, cancellation, logs; see
docs/architecture.md) and knows neither text nor token ids. It imports :mod:`protocol` and no other package of ours.
"""
