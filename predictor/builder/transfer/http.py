"""HTTP for transfers, over httpx: retries, and error messages that name the host.

A request is tried again after a lost connection, and after 429 and 5xx. A response that is read piece by piece may
still end early: :mod:`predictor.builder.transfer.download` continues it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from predictor.builder.errors import TransferFailed, TransferInterrupted
from protocol.version import package_version

TRIES = 6
"""Of a request that meets a lost connection or a server that is busy."""
LONGEST_PAUSE_S = 20.0
_BUSY = (408, 429, 500, 502, 503, 504)
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)

Pause = Callable[[float], None]


class LostConnection(Exception):
    """The connection ended within a response's body, or there was none."""


class HttpAnswer:
    """Status, headers and body of a response that was read whole."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.body = response.content
        self.url = str(response.url)

    def json(self) -> Any:  # noqa: ANN401 - any JSON document
        """The body as JSON.

        Raises:
            TransferFailed: it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise TransferFailed(f"{self.url} answered with something that is not JSON: {error}") from error


class HttpStream:
    """A response whose body is read piece by piece."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def pieces(self, size: int) -> Iterator[bytes]:
        """The body in pieces of about ``size`` bytes, and what had come before the connection broke.

        Raises:
            LostConnection: it ended early.
        """
        held, count = [], 0
        lost: httpx.HTTPError | None = None
        received = self._response.iter_raw()
        while lost is None:
            try:
                held.append(next(received))
                count += len(held[-1])
            except StopIteration:
                break
            except httpx.HTTPError as error:
                lost = error
            if count >= size:
                yield b"".join(held)
                held, count = [], 0
        if held:
            yield b"".join(held)
        if lost is not None:
            raise LostConnection(str(lost) or type(lost).__name__) from lost


class TransferHttp:
    """A client for several threads; closed by its context."""

    def __init__(self, *, pause: Pause = time.sleep, tries: int = TRIES) -> None:
        """Open no connection yet.

        Args:
            pause: waits the given seconds between two tries.
            tries: of one request.
        """
        # Accept-Encoding: a compressed body has other bytes than its digest and its ranges speak of.
        headers = {"User-Agent": f"yiwen/{package_version()}", "Accept-Encoding": "identity"}
        self._client = httpx.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=True)
        self._pause, self._tries = pause, tries

    def __enter__(self) -> TransferHttp:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        form: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        once: bool = False,
    ) -> HttpAnswer:
        """Send a request and read the answer whole, whatever its status but one that asks to try again.

        Args:
            method: of HTTP.
            url: absolute.
            headers: of the request.
            body: of the request.
            form: in the body's place, as a form's fields.
            parameters: added to the URL's query.
            once: do not try again.

        Raises:
            TransferInterrupted: there was no connection, or the server stayed busy.
            TransferFailed: the URL or the answer is not one of HTTP.
        """
        content = {"content": body} if form is None else {"data": dict(form)}
        request = self._build(method, with_parameters(url, parameters or {}), headers, **content)
        tries = 1 if once else self._tries
        for left in reversed(range(tries)):
            try:
                response = self._client.send(request)
            except httpx.TransportError as error:
                self._give_up(url, str(error) or type(error).__name__, last=not left)
            else:
                if response.status_code not in _BUSY or not left:
                    return HttpAnswer(response)
            self.wait(tries - left)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[HttpStream]:
        """GET a large body, once.

        Args:
            url: absolute.
            headers: of the request.

        Raises:
            LostConnection: there is none, or it broke.
        """
        try:
            with self._client.stream(
                "GET", self._build("GET", url, headers).url, headers=headers
            ) as response:
                yield HttpStream(response)
        except httpx.TransportError as error:
            raise LostConnection(str(error) or type(error).__name__) from error

    def wait(self, tried: int) -> None:
        """Wait before another try: longer after each, at random, so that clients do not come all at once."""
        self._pause(min(LONGEST_PAUSE_S, 0.5 * 2.0 ** (tried - 1)) * random.uniform(0.5, 1.0))

    def _build(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        **options: Any,  # noqa: ANN401
    ) -> httpx.Request:
        try:
            return self._client.build_request(method, url, headers=dict(headers or {}), **options)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise TransferFailed(f"{url} is no URL: {error}") from error

    def _give_up(self, url: str, reason: str, *, last: bool) -> None:
        if last:
            raise TransferInterrupted(
                f"no connection to {httpx.URL(url).host}: {reason}; run the command again"
            )


def with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    """The URL with more parameters in its query, which keeps those that it has."""
    return str(httpx.URL(url).copy_merge_params(dict(parameters))) if parameters else url
