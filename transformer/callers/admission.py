"""Decides for each request who its caller is, and whether it is within that caller's limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

from protocol.error_codes import ErrorCode
from protocol.errors import YiwenError
from protocol.glossary import parse_glossary
from protocol.messages import Glossary, TranslateRequest
from transformer.callers.key_file import ApiKey
from transformer.callers.key_ring import KeyRing
from transformer.callers.usage import UsageCounter
from transformer.metrics import CallerMetrics
from transformer.request_context import CallerShare
from transformer.texts.language_tags import canonical_tag

_HEADERS = ("x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key")
_SCHEMES = ("bearer", "deepl-auth-key", "key")


@dataclass(frozen=True, slots=True)
class Account:
    """What a caller has used, and its limit."""

    id: str
    used: int
    """Characters of this month."""
    limit: int | None
    """Characters a month; None for no limit."""


@dataclass(frozen=True, slots=True)
class AdmittedRequest:
    """A request within its caller's limits."""

    message: TranslateRequest
    """With the caller's own glossary, if it has one and the request has none."""
    share: CallerShare


class CallerAdmission:
    """Knows callers by their keys. Without a file of keys everybody is admitted."""

    def __init__(self, keys: KeyRing | None, usage: UsageCounter, metrics: CallerMetrics) -> None:
        self._keys = keys
        self._usage = usage
        self._metrics = metrics

    @property
    def is_open(self) -> bool:
        """Whether requests need no key."""
        return self._keys is None

    def caller(self, headers: Mapping[str, str], key: str | None = None) -> ApiKey | None:
        """The caller's key; None where keys are not used.

        Args:
            headers: of the request, names in lower case.
            key: sent in another place than a header.

        Raises:
            YiwenError: 401: there is no key, or not a valid one.
        """
        if self._keys is None:
            return None
        secret = key or key_in(headers)
        found = None if secret is None else self._keys.find(secret)
        if found is None:
            what = "no API key was sent" if secret is None else "the API key is not valid"
            raise YiwenError(
                f"{what}: send one as Authorization: Bearer KEY, or as this API does",
                code=ErrorCode.UNAUTHENTICATED,
            )
        return found

    async def account(self, headers: Mapping[str, str], key: str | None = None) -> Account:
        """What the caller has used; arguments and errors as of :meth:`caller`."""
        found = self.caller(headers, key)
        if found is None:
            return Account("", 0, None)
        charge = await self._usage.charge(found, 0, requests=0)
        return Account(found.id, charge.used, found.characters_per_month)

    @asynccontextmanager
    async def admit(
        self, message: TranslateRequest, headers: Mapping[str, str], key: str | None = None
    ) -> AsyncIterator[AdmittedRequest]:
        """Count a request while it is answered; what is not answered is not counted.

        Args:
            message: the request.
            headers: as for :meth:`caller`.
            key: as for :meth:`caller`.

        Raises:
            YiwenError: 401 as :meth:`caller`; 403: a target language is not allowed; 429: the quota of characters or
                the rate of requests is used up.
        """
        found = self.caller(headers, key)
        if found is None:
            yield AdmittedRequest(message, CallerShare())
            return
        _check_languages(found, message)
        characters = sum(map(len, message.texts))
        await self._charge(found, characters)
        if message.glossary is None and found.glossary is not None:
            message = replace(message, glossary=_glossary(json.dumps(found.glossary)))
        try:
            yield AdmittedRequest(message, CallerShare(found.id, found.priority))
        except BaseException:
            await self._usage.refund(found, characters)
            raise
        self._metrics.characters.labels(found.id).inc(characters)

    async def _charge(self, key: ApiKey, characters: int) -> None:
        charge = await self._usage.charge(key, characters)
        if charge.quota_exceeded:
            self._metrics.refusals.labels(key.id, "quota").inc()
            raise YiwenError(
                f"the quota of {key.characters_per_month} characters a month is used up: {charge.used} were used, "
                f"{characters} are asked for",
                code=ErrorCode.QUOTA_EXCEEDED,
            )
        if charge.retry_after_s is not None:
            self._metrics.refusals.labels(key.id, "rate").inc()
            raise YiwenError(
                f"this key may send {key.requests_per_second:g} requests a second; retry later",
                code=ErrorCode.RATE_LIMITED,
                retry_after_s=charge.retry_after_s,
            )


def key_in(headers: Mapping[str, str]) -> str | None:
    """The key in a request's headers; None if there is none."""
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    if value and scheme.lower() in _SCHEMES:
        return value.strip()
    return next((headers[name].strip() for name in _HEADERS if headers.get(name)), None)


@lru_cache(maxsize=256)
def _glossary(text: str) -> Glossary:
    """A key's glossary, parsed once."""
    return parse_glossary(text)


def _check_languages(key: ApiKey, message: TranslateRequest) -> None:
    allowed = {canonical_tag(tag) for tag in key.languages}
    if not allowed:
        return
    for target in set(message.targets):
        tag = canonical_tag(target[:35])
        if tag not in allowed and tag.partition("-")[0] not in allowed:
            listed = ", ".join(key.languages)
            raise YiwenError(f"this key may translate to {listed} only", code=ErrorCode.KEY_FORBIDDEN)
