"""The baseline: a bare model on KServe's server that returns its input tensors.

``python -m benchmarks.transformer_stages.echo --model_name NAME --http_port PORT --grpc_port PORT [--quiet]``:
KServe's arguments and its defaults, one worker. With ``--quiet`` it logs warnings only, as a transformer does with
YIWEN_LOG_LEVEL=warning.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.utils.utils import generate_uuid


class Echo(Model):  # type: ignore[misc]  # the SDK is untyped
    """Returns its input tensors."""

    def load(self) -> bool:
        """Report ready; there is nothing to load."""
        self.ready = True
        return True

    async def predict(
        self,
        payload: InferRequest,
        headers: Mapping[str, str] | None = None,
        response_headers: Mapping[str, str] | None = None,
    ) -> InferResponse:
        """Return the request's tensors."""
        outputs = [InferOutput(each.name, each.shape, each.datatype, each.data) for each in payload.inputs]
        # The SDK sends no answer without an id.
        return InferResponse(payload.id or generate_uuid(), self.name, outputs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--quiet", action="store_true", help="log warnings only")
    arguments, _ = parser.parse_known_args()
    model = Echo(arguments.model_name)
    model.load()
    # The SDK's own defaults are of the command line that it was imported with.
    server = ModelServer(
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        enable_latency_logging=not arguments.quiet,
    )
    if arguments.quiet:
        for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.WARNING)
    server.start([model])
