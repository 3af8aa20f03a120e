"""Imports the KServe SDK without its side effects on the command line and the start-up time.

Importing ``kserve`` parses ``sys.argv``, and exits the process on a flag that looks like one of its own
(``--protocol x``, ``--http_port`` without a number), so it gets an empty command line here. It also allocates some
hundred thousand objects that are never freed; garbage collection is off meanwhile, which saves about a sixth of the
import's time.

Other modules import the SDK from here or after this module.
"""

from __future__ import annotations

import gc
import sys

_argv, sys.argv = sys.argv, sys.argv[:1]
_collected = gc.isenabled()
gc.disable()
try:
    from kserve import InferInput, InferOutput, InferRequest, InferResponse
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.infer_type import RequestedOutput
finally:
    sys.argv = _argv
    if _collected:
        gc.enable()

__all__ = ["InferInput", "InferOutput", "InferRequest", "InferResponse", "RequestedOutput", "pb"]
