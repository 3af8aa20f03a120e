"""The predictor: token ids in, token ids out, by continuous batching over a release's decoder.

Imports go down only: model > llm_engine > engine_thread | engine_metrics | pipeline > scheduler | runners | sampler >
kv_cache | batch > sequence > config | metrics > errors. :mod:`predictor.builder` makes releases offline and is never
imported by serving.
"""
