"""Calls a server with Triton's own clients, in a process of its own: their protobuf modules clash with KServe's.

``python triton_client.py http|grpc HOST:PORT MODEL`` prints what each call returned, as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

TEXT = "手机 phone" * 50


def main(surface: str, address: str, model: str) -> None:
    triton: Any = __import__(f"tritonclient.{surface}", fromlist=["*"])
    client = triton.InferenceServerClient(address)
    text = triton.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array([TEXT.encode()], dtype=np.object_))
    output = triton.InferRequestedOutput("translation")
    compression = "request_compression_algorithm" if surface == "http" else "compression_algorithm"
    calls: dict[str, dict[str, Any]] = {
        "plain": {},
        "timeout and priority": {"timeout": 5_000_000, "priority": 1},
        "gzip": {compression: "gzip"},
        "deflate": {compression: "deflate"},
    }
    versions = client.get_model_metadata(model)
    version = versions["versions"][0] if surface == "http" else versions.versions[0]
    calls["version"] = {"model_version": version}
    seen = {"live": client.is_server_live(), "ready": client.is_model_ready(model)}
    for name, options in calls.items():
        answer = client.infer(model, [text], outputs=[output], parameters={"target": "de"}, **options)
        seen[name] = answer.as_numpy("translation").tolist()[0].decode() == TEXT
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
