"""The predictor: token ids in, token ids out, by continuous batching over a release's decoder.

A request only goes down: model > llm_engine > scheduler | runners | sampler > kv_cache | batch > sequence >
config | metrics > errors. :mod:`predictor.builder` makes releases offline and is never imported by serving.
"""
