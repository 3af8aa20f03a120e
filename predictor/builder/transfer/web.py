"""A checkpoint or a release in a folder of a plain web server, which lists nothing: files are asked for by name."""

from __future__ import annotations

from urllib.parse import quote, urljoin

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.digests import ContentDigest
from predictor.builder.transfer.download import refusal
from predictor.builder.transfer.http import HttpAnswer, TransferHttp
from predictor.builder.transfer.listing import CHECKPOINT_FILES, SourceFile, SourceListing, needed_names
from protocol.release import RELEASE_FILE

_INDEX = "model.safetensors.index.json"


def web_listing(http: TransferHttp, url: str, *, token: str | None) -> SourceListing:
    """The files of a folder: those that ``release.json`` names, with their digests, or those of a checkpoint.

    Args:
        http: to ask with.
        url: of the folder.
        token: sent as a bearer token.

    Raises:
        TransferFailed: there is neither, or the server does not tell a file's size.
    """
    folder = url if url.endswith("/") else f"{url}/"
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(method: str, name: str) -> HttpAnswer | None:
        answer = http.send(method, urljoin(folder, quote(name)), headers=headers)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise refusal(answer.url, answer)
        return answer

    digests: dict[str, ContentDigest | None] = dict.fromkeys(CHECKPOINT_FILES)
    try:
        if (release := ask("GET", RELEASE_FILE)) is not None:
            named = {str(name): str(value) for name, value in release.json()["files"].items()}
            digests = {RELEASE_FILE: None} | {
                name: ContentDigest("sha256", value) for name, value in named.items()
            }
        elif (index := ask("GET", _INDEX)) is not None:
            digests |= dict.fromkeys(str(name) for name in index.json()["weight_map"].values())
    except (KeyError, TypeError, AttributeError) as error:
        raise TransferFailed(f"{folder}: its {RELEASE_FILE} or {_INDEX} cannot be read: {error!r}") from error
    found = {name: answer for name in digests if (answer := ask("HEAD", name)) is not None}
    files = [
        SourceFile(name, urljoin(folder, quote(name)), _size(found[name]), digests[name])
        for name in needed_names(found, folder)
    ]
    return SourceListing(folder, files, lambda: headers)


def _size(answer: HttpAnswer) -> int:
    try:
        return int(answer.headers["content-length"])
    except (KeyError, ValueError) as error:
        raise TransferFailed(
            f"{answer.url}: the server does not tell its size, so it cannot be checked"
        ) from error
