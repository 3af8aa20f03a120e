"""The KServe edge that both services stand on: settings, a served model, one server for REST and gRPC.

It repairs what the KServe SDK 0.21 gets wrong at its edges (errors, health, drain, cancellation, logs; see
docs/architecture.md) and knows neither text nor token ids. It imports :mod:`protocol` and no other room.
"""
