"""``python -m tests.skew.record CHECKOUT``: records what another version's services send each other.

Writes ``tests/skew/recorded/VERSION.json`` and ``VERSION.tar.gz``, a small release that it built. The tests compare
this version with them, since no other one is installed there.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import redis
from aiohttp import web

from tests.e2e.release_cluster import MODEL
from tests.releases import write_checkpoint
from tests.skew.exchanges import RECORDED, Exchange, Recording, kept_headers
from tests.skew.versions import Version
from tests.transformer.redis_server import running_redis

TEXTS = ("Red shoes", "Blue mug, 350 ml", "A bag", "Two cups", "A clock", "Wool", "Lamp oil", "Six pens")
STREAMED = "Yarn\nHats"
NAMES = """
import json
from protocol.tensors import GENERATE_INPUTS, GENERATE_PARAMETERS
print(json.dumps([[spec.name for spec in GENERATE_INPUTS], GENERATE_PARAMETERS]))
"""
SMALL = {"YIWEN_THREADS": "1", "YIWEN_SLOTS": "1", "YIWEN_QUEUE_TOKENS": "100"}


async def record(version: Version, release: Path) -> Recording:
    """Translate with both services of a version on a release, with a proxy between them."""
    with ExitStack() as stack:
        server = stack.enter_context(running_redis(release.parent))
        predictor = stack.enter_context(version.running("predictor", release, **SMALL))
        exchanges: list[Exchange] = []
        async with _recording(predictor, exchanges) as url:
            settings = {"YIWEN_PREDICTOR_URL": url, "YIWEN_REDIS_URL": server.url, "YIWEN_CACHE_BYTES": "0"}
            transformer = await asyncio.to_thread(
                stack.enter_context, version.running("transformer", release, **settings)
            )
            async with aiohttp.ClientSession() as session:
                answers = {STREAMED: await _stream(session, transformer)}
                answers |= {text: await _translate(session, transformer, text) for text in TEXTS}
                # Where a bound cut an answer within a character, 0.1.0 ended it with U+FFFD.
                answers = {text: answer for text, answer in answers.items() if not answer.endswith("\ufffd")}
                errors = await _errors(session, predictor, exchanges)
        with redis.Redis.from_url(server.url) as client:
            cache = {key: client.get(key) for key in sorted(client.keys("yiwen:*"))}
    names = subprocess.run(
        [*version.command("x")[:1], "-c", NAMES], cwd=version.checkout, capture_output=True, check=True
    )
    inputs, parameters = json.loads(names.stdout)
    release_id = json.loads((release / "release.json").read_text())["id"]
    return Recording(
        version.name,
        release_id,
        inputs,
        parameters,
        answers,
        STREAMED,
        tuple(exchanges),
        tuple(errors),
        cache,
    )


@asynccontextmanager
async def _recording(predictor: str, exchanges: list[Exchange]) -> AsyncIterator[str]:
    """A proxy that writes down what passes; gives its URL."""

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        headers = kept_headers(request.headers)
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, predictor + request.path_qs, data=body, headers=headers
            ) as answer,
        ):
            content, kept = await answer.read(), kept_headers(answer.headers)
        exchanges.append(
            Exchange(request.method, request.path_qs, headers, body, answer.status, kept, content)
        )
        return web.Response(status=answer.status, body=content, headers=kept)

    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _translate(session: aiohttp.ClientSession, url: str, text: str) -> str:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    body = {"inputs": [tensor], "parameters": {"source": "en", "target": "zh"}}
    async with session.post(f"{url}/v2/models/{MODEL}/infer", json=body) as response:
        document = await response.json()
    outputs = {output["name"]: output["data"] for output in document["outputs"]}
    return str(outputs["translation"][0])


async def _stream(session: aiohttp.ClientSession, url: str) -> str:
    body = {"text_input": STREAMED, "parameters": {"source": "en", "target": "zh"}}
    async with session.post(f"{url}/v2/models/{MODEL}/generate_stream", json=body) as response:
        lines = (await response.text()).splitlines()
    events = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    return "".join(event.get("text_output", "") for event in events)


async def _errors(
    session: aiohttp.ClientSession, predictor: str, exchanges: list[Exchange]
) -> list[Exchange]:
    """Refusals of the predictor, for a request that it took, changed."""
    sent = next(each for each in exchanges if each.path.endswith("/infer"))
    length = int(sent.request_headers["inference-header-content-length"])
    document, tail = json.loads(sent.request[:length]), sent.request[length:]
    changes: tuple[dict[str, Any], ...] = (
        {"release": "0123456789abcdef"},  # 409
        {"deadline_ms": 1},  # 504
        {"temperature": -1.0},  # 400
    )
    found = []
    for change in changes:
        changed = json.dumps({**document, "parameters": {**document["parameters"], **change}}).encode()
        headers = {**sent.request_headers, "inference-header-content-length": str(len(changed))}
        found.append(await _send(session, predictor + sent.path, headers, changed + tail))
    full = await asyncio.gather(
        *(_send(session, predictor + sent.path, sent.request_headers, sent.request) for _ in range(40))
    )
    found.append(next(each for each in full if each.status == 429))
    return found


async def _send(session: aiohttp.ClientSession, url: str, headers: Any, body: bytes) -> Exchange:
    async with session.post(url, data=body, headers=headers) as answer:
        content = await answer.read()
        path = str(answer.url.path)
        return Exchange(
            "POST", path, dict(headers), body, answer.status, kept_headers(answer.headers), content
        )


def main() -> int:
    """Record; returns the exit code."""
    checkout = Path(sys.argv[1]).resolve()
    version = Version(sys.argv[2] if len(sys.argv) > 2 else "0.1.0", checkout)
    RECORDED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        checkpoint = write_checkpoint(Path(name) / "checkpoint", layers=1)
        release = version.build(checkpoint, Path(name) / "release")
        asyncio.run(record(version, release)).write(RECORDED / f"{version.name}.json")
        with tarfile.open(RECORDED / f"{version.name}.tar.gz", "w:gz") as archive:
            archive.add(release, "release")
    return 0


if __name__ == "__main__":
    sys.exit(main())
