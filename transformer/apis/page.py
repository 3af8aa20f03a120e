"""The page at ``/`` to try the service: two panes, translation as one types. Its files are in :mod:`transformer.web`.

It loads nothing from other hosts. What asks for ``/`` without accepting HTML gets KServe's v1 liveness document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files

from protocol.errors import YiwenError
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest
from serving.error_responses import RestResponse, error_response
from transformer.apis.answers import json_answer, operation
from transformer.apis.text_service import TextService

_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class WebPage:
    """The page's files, and what they need to know of the service."""

    name = "page"
    open_to_pages = False

    def __init__(self, service: TextService, file_suffixes: Sequence[str]) -> None:
        """Read the page's files.

        Args:
            service: translates.
            file_suffixes: of the documents that ``/translate_file`` takes; none where it is not served.
        """
        self._service = service
        self._file_suffixes = file_suffixes
        self._files = {name: _static_file(name, media_type) for name, media_type in _TYPES.items()}
        self.routes = [
            ApiRoute("GET", "/", self._index, operation("The page, or liveness as JSON", answers=(200, 304))),
            ApiRoute("GET", "/web/config.json", self._config, operation("What the page needs to know")),
            *(
                ApiRoute(
                    "GET", f"/web/{name}", self._file, operation("A file of the page", answers=(200, 304))
                )
                for name in _TYPES
                if name != "index.html"
            ),
        ]

    def error(self, error: YiwenError) -> RestResponse:
        """As errors of the v2 protocol."""
        return error_response(error)

    def error_event(self, error: YiwenError) -> bytes:
        """Not used: nothing is streamed."""
        return b""

    async def _index(self, request: ApiRequest) -> RestResponse:
        if "text/html" not in request.info.headers.get("accept", ""):
            return json_answer({"status": "alive"}, headers={"vary": "accept"})
        return _unless_known(self._files["index.html"], request)

    async def _file(self, request: ApiRequest) -> RestResponse:
        return _unless_known(self._files[request.path.rpartition("/")[2]], request)

    async def _config(self, request: ApiRequest) -> RestResponse:
        languages = self._service.languages
        return json_answer(
            {
                "model": self._service.model_name,
                "languages": {
                    tag: {"name": name, "rtl": languages.is_right_to_left(tag)}
                    for tag, name in languages.names.items()
                },
                "sources": languages.sources,
                "targets": languages.targets,
                "pairs": languages.pairs,
                "needs_key": self._service.needs_keys,
                "files": self._file_suffixes,
            },
            headers={"cache-control": "no-store"},
        )


def _static_file(name: str, media_type: str) -> RestResponse:
    content = files("transformer.web").joinpath(name).read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"content-type": media_type, "etag": etag, "cache-control": "no-cache", **_SECURITY}
    if name == "index.html":
        headers["vary"] = "accept"
    return RestResponse(200, content, headers)


def _unless_known(file: RestResponse, request: ApiRequest) -> RestResponse:
    """304 for a client that has the file."""
    if request.info.headers.get("if-none-match") == file.headers["etag"]:
        return RestResponse(304, b"", {"etag": file.headers["etag"], **_SECURITY})
    return file
