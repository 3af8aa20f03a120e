"""Folders of S3 buckets, and of stores that speak S3's API. botocore finds the credentials and signs.

It reads them where AWS's own tools do: environment, ``~/.aws``, a pod's role, an instance's. Files are then fetched
by signed URLs, as from any web server.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.digests import ContentDigest
from predictor.builder.transfer.listing import SourceFile, SourceListing, needed_names

URL_LIFE_S = 12 * 3600
"""Of the signed URLs; those of temporary credentials end with them."""
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


def s3_listing(bucket: str, folder: str, *, endpoint: str | None) -> SourceListing:
    """The needed files of a folder; without credentials it is read as everybody may.

    Args:
        bucket: its name.
        folder: path in it, without a slash at its ends; may be empty.
        endpoint: URL of a store that is not Amazon's.

    Raises:
        TransferFailed: botocore is missing, the bucket cannot be read, or nothing can be built from the folder.
    """
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise TransferFailed(
            "s3:// needs botocore, which is not installed: pip install '.[s3]' in a checkout of Yiwen"
        ) from error
    prefix = f"{folder}/" if folder else ""
    try:
        client = _client(endpoint)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = {
            str(entry["Key"]).removeprefix(prefix): str(entry["Key"])
            for page in pages
            for entry in page.get("Contents", ())
            if not entry["Key"].endswith("/")
        }
        source = f"s3://{bucket}/{folder}"
        files = [_file(client, bucket, name, found[name]) for name in needed_names(found, source)]
    except (BotoCoreError, ClientError) as error:
        raise TransferFailed(f"s3://{bucket}/{folder} cannot be read: {error}") from error
    return SourceListing(source, files)


def _client(endpoint: str | None) -> Any:  # noqa: ANN401 - botocore makes the class when it runs
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    signature = UNSIGNED if session.get_credentials() is None else "s3v4"
    addressing = {} if endpoint is None else {"addressing_style": "path"}
    config = Config(signature_version=signature, s3=addressing)
    region = session.get_config_variable("region") or "us-east-1"
    return session.create_client("s3", region_name=region, endpoint_url=endpoint, config=config)


def _file(client: Any, bucket: str, name: str, key: str) -> SourceFile:  # noqa: ANN401 - see above
    facts = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    url = client.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=URL_LIFE_S
    )
    return SourceFile(name, url, int(facts["ContentLength"]), object_digest(facts))


def object_digest(facts: Mapping[str, Any]) -> ContentDigest | None:
    """The digest that the store tells of an object; None where it tells none of the whole object.

    An ETag is the MD5 of objects that were uploaded at once, unless they are encrypted with a key of the user's.

    Args:
        facts: the answer to ``HeadObject``.
    """
    checksum = facts.get("ChecksumSHA256")
    if checksum and facts.get("ChecksumType") != "COMPOSITE" and "-" not in checksum:
        return ContentDigest("sha256", base64.b64decode(checksum).hex())
    etag = _MD5.fullmatch(str(facts.get("ETag", "")))
    if etag and facts.get("ServerSideEncryption") in (None, "AES256") and "SSECustomerAlgorithm" not in facts:
        return ContentDigest("md5", etag[1])
    return None
