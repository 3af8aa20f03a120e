"""`yiwen release fetch s3://...` from a server that speaks the part of S3's API that is used, signatures checked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

import pytest
from aiohttp import web

from cli.__main__ import main
from predictor.builder.transfer.digests import ContentDigest
from predictor.builder.transfer.s3 import object_digest
from tests.predictor.builder.transfer.trees import tree
from tests.releases import write_checkpoint

SECRET = "wJalrXUtnFEMI/K7MDENG"


def signature(request: web.Request) -> str:
    """The signature that a presigned URL must have (AWS, "Authenticating Requests: Using Query Parameters")."""
    query = request.query
    pairs = sorted((k, v) for k, v in query.items() if k != "X-Amz-Signature")
    canonical = "\n".join(
        [
            request.method,
            quote(unquote(request.raw_path.split("?")[0])),
            "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in pairs),
            f"host:{request.headers['Host']}\n",
            "host",
            "UNSIGNED-PAYLOAD",
        ]
    )
    _, day, region, service, ending = query["X-Amz-Credential"].split("/")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], f"{day}/{region}/{service}/{ending}", digest])
    key = f"AWS4{SECRET}".encode()
    for part in (day, region, service, ending):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


class Bucket:
    """One bucket, over a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def list(self, request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=AKID/"):
            body = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            return web.Response(status=403, text=body, content_type="application/xml")
        names = sorted(
            path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()
        )
        keys = [name for name in names if name.startswith(request.query["prefix"])]
        entries = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in keys)
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        return web.Response(text=body, content_type="application/xml")

    async def object(self, request: web.Request) -> web.StreamResponse:
        path = self.root / request.match_info["key"]
        if request.method == "GET":
            if request.query.get("X-Amz-Signature") != signature(request):
                raise web.HTTPForbidden
            return web.FileResponse(path)
        content = path.read_bytes()
        headers = {"Content-Length": str(len(content))}
        if path.suffix == ".json":
            headers["ETag"] = f'"{hashlib.md5(content).hexdigest()}"'
        else:
            headers["ETag"] = '"0123-2"'
            headers["x-amz-checksum-sha256"] = base64.b64encode(hashlib.sha256(content).digest()).decode()
        return web.Response(headers=headers)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a store, and the folder of its bucket."""
    root = tmp_path_factory.mktemp("bucket")
    write_checkpoint(root / "models" / "a model")
    bucket, app, loop = Bucket(root), web.Application(), asyncio.new_event_loop()
    app.router.add_get("/bucket", bucket.list)
    app.router.add_route("*", "/bucket/{key:.+}", bucket.object)
    runner = web.AppRunner(app)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    url = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield url, root
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_folder_of_a_bucket(
    store: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, root = store
    arguments = ["release", "fetch", "s3://bucket/models/a model", str(tmp_path / "out"), "--endpoint", url]
    assert main(arguments) == 2
    assert "Access Denied" in capsys.readouterr().err
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert main(arguments) == 0
    assert tree(tmp_path / "out") == tree(root / "models" / "a model")
    assert "only the size" not in capsys.readouterr().err
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert main([*arguments[:3], str(tmp_path / "other"), *arguments[4:]]) == 2
    assert "status 403" in capsys.readouterr().err


def test_digests_are_taken_where_they_are_those_of_the_whole_object() -> None:
    etag = '"d41d8cd98f00b204e9800998ecf8427e"'
    assert object_digest({"ETag": etag}) == ContentDigest("md5", etag.strip('"'))
    assert object_digest({"ETag": etag, "ServerSideEncryption": "AES256"}) is not None
    assert object_digest({"ETag": etag, "ServerSideEncryption": "aws:kms"}) is None
    assert object_digest({"ETag": etag, "SSECustomerAlgorithm": "AES256"}) is None
    assert object_digest({"ETag": '"d41d8cd98f00b204e9800998ecf8427e-3"'}) is None
    sha256 = base64.b64encode(bytes(32)).decode()
    assert object_digest({"ETag": etag, "ChecksumSHA256": sha256}) == ContentDigest("sha256", "00" * 32)
    assert object_digest({"ChecksumSHA256": f"{sha256}-2"}) is None


def test_a_bucket_needs_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "fetch", "s3://", str(tmp_path / "out")]) == 2
    assert "write it as s3://bucket/folder" in capsys.readouterr().err
