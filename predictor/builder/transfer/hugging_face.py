"""Models on the Hugging Face hub, and on mirrors that speak its API.

The package ``huggingface_hub`` compares sizes, not digests, and is installed with the tests alone; the two requests
that are needed are here. https://huggingface.co/docs/hub/api
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.digests import ContentDigest
from predictor.builder.transfer.download import refusal
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.listing import SourceFile, SourceListing, needed_names

ENDPOINT = "https://huggingface.co"
ENDPOINT_VARIABLE = "HF_ENDPOINT"


def hugging_face_listing(
    http: TransferHttp, name: str, revision: str | None, *, endpoint: str, token: str | None
) -> SourceListing:
    """The needed files of a model, at the commit that ``revision`` names now.

    Args:
        http: to ask with.
        name: ``organization/model``.
        revision: branch, tag or commit; None is ``main``.
        endpoint: URL of the hub.
        token: of a user, for private and gated models.

    Raises:
        TransferFailed: there is no such model, it cannot be seen, or nothing can be built from it.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{endpoint}/api/models/{quote(name)}/revision/{quote(revision or 'main', safe='')}"
    answer = http.send("GET", url, headers=headers, parameters={"blobs": "true"})
    if answer.status != 200:
        raise refusal(url, answer)
    document = answer.json()
    try:
        commit = str(document["sha"])
        entries = {str(entry["rfilename"]): entry for entry in document["siblings"]}
        needed = needed_names(entries, f"hf://{name}")
        files = [
            SourceFile(
                path,
                f"{endpoint}/{quote(name)}/resolve/{commit}/{quote(path)}",
                int(entries[path]["size"]),
                _digest(entries[path]),
            )
            for path in needed
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise TransferFailed(f"{url} did not answer as a hub does: {error!r} is missing") from error
    return SourceListing(f"hf://{name}@{commit}", files, lambda: headers)


def _digest(entry: dict[str, Any]) -> ContentDigest | None:
    """The sha256 of a file in Git LFS, and git's own id of any other."""
    if lfs := entry.get("lfs"):
        return ContentDigest("sha256", str(lfs["sha256"]))
    return ContentDigest("git-sha1", str(entry["blobId"])) if entry.get("blobId") else None
