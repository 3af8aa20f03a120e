"""Imports the KServe SDK without its side effects on the command line and the start-up time.

Importing ``kserve`` parses ``sys.argv``, and exits the process on a flag that looks like one of its own
(``--protocol x``, ``--http_port`` without a number), so it gets an empty command line here. It also allocates some
hundred thousand objects that are never freed; garbage collection is off meanwhile, which saves about a sixth of the
import's time. Two modules that it loads and that no server needs take another third: pandas, for types that it
checks, and its client of Kubernetes. They are left out.

Other modules import the SDK from here or after this module.
"""

from __future__ import annotations

import gc
import sys
from types import ModuleType

_LEFT_OUT = {"pandas": "DataFrame", "kserve.api.kserve_client": "KServeClient"}
"""Modules that the SDK does not get, with the one name that it asks them for."""


def _stand_in(name: str, attribute: str) -> ModuleType:
    module = ModuleType(name)
    setattr(module, attribute, type(attribute, (), {}))
    return module


_stand_ins = {
    name: _stand_in(name, attribute)
    for name, attribute in _LEFT_OUT.items()
    if name not in sys.modules and "kserve" not in sys.modules
}
sys.modules.update(_stand_ins)
_argv, sys.argv = sys.argv, sys.argv[:1]
_collected = gc.isenabled()
gc.disable()
try:
    from kserve import InferInput, InferOutput, InferRequest, InferResponse
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.infer_type import RequestedOutput
finally:
    sys.argv = _argv
    for _name in _stand_ins:
        del sys.modules[_name]  # whoever needs the module itself gets it
    if _collected:
        gc.enable()

__all__ = ["InferInput", "InferOutput", "InferRequest", "InferResponse", "RequestedOutput", "pb"]
