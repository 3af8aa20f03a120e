"""The one door to the KServe SDK: imports it so that our command line and our start-up time survive.

Importing ``kserve`` parses ``sys.argv`` with a parser of its own, which exits the process on a flag that merely
looks like one of its own (``--protocol x``, ``--http_port`` without a number). So it sees an empty command line
here. It also allocates some hundred thousand objects that live for ever; the garbage collector would walk them a
few times while they appear, for about a sixth of the import's time.

Not here: anything that uses the SDK. Whoever needs it, imports it from here or after this module.
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
