"""The transformer's settings, read once at the start from ``YIWEN_*`` by :mod:`serving.settings`.

What both services share (ports, drain, limits of a body, logs) is in :class:`serving.settings.ServerSettings`. How a
text becomes a prompt is not a setting: that is the release's ``translation.json``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from serving.settings import SettingsError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Each field's docstring gives its unit, its effect, and the reason for its default."""

    release: Path = field(metadata={"env": "YIWEN_RELEASE"})
    """Directory of the release whose tokenizer and languages are served. No default: nothing fits all."""

    predictor_url: str = field(metadata={"env": "YIWEN_PREDICTOR_URL"})
    """Where the predictor listens: ``http[s]://host[:port]``, or ``host[:port]`` as KServe passes it. No default."""

    predictor_model: str | None = field(default=None, metadata={"env": "YIWEN_PREDICTOR_MODEL"})
    """Model name in the predictor's URL. None: the transformer's own, which is what KServe makes both of."""

    cache_bytes: int = field(default=64 * MIB, metadata={"env": "YIWEN_CACHE_BYTES", "min": 0})
    """Bytes of the in-process cache; 0 turns it off. 64 MiB hold some 100,000 product titles, in a pod that needs
    about 300 MiB anyway."""

    max_texts: int = field(default=1024, metadata={"env": "YIWEN_MAX_TEXTS", "min": 1})
    """Texts in one request; more are refused with 413. 1024 short titles keep one request's work in this process
    under 0.1 s, so that one caller cannot hold up the others."""

    max_connections: int = field(default=128, metadata={"env": "YIWEN_MAX_CONNECTIONS", "min": 1})
    """Connections to the predictor, each carrying one request at a time; more requests wait ``pool_timeout_s``. 128
    is more than one predictor has slots, so the predictor's own admission decides, not this."""

    connect_timeout_s: float = field(default=2.0, metadata={"env": "YIWEN_CONNECT_TIMEOUT_S", "min": 0.001})
    """Seconds to open a connection. Inside a cluster this takes milliseconds; 2 s allow one lost SYN (resent after
    1 s)."""

    read_timeout_s: float = field(default=60.0, metadata={"env": "YIWEN_READ_TIMEOUT_S", "min": 0.001})
    """Seconds without a byte from the predictor, from the moment sending begins. It answers only when all tokens are
    there, so this is as long as the longest deadline; a request's own deadline shortens it. A peer that hangs while
    it is sent to is found by the same clock."""

    pool_timeout_s: float = field(default=5.0, metadata={"env": "YIWEN_POOL_TIMEOUT_S", "min": 0.001})
    """Seconds to wait for one of ``max_connections``; then 429. Longer waits would hide an overload from callers."""

    keepalive_s: float = field(default=30.0, metadata={"env": "YIWEN_KEEPALIVE_S", "min": 0.0})
    """Seconds an idle connection is kept. Under the server's 65 s, so that this side closes first: the other way
    round, a request can run into a connection that is just being closed."""

    def __post_init__(self) -> None:
        """Refuse a predictor's address that is none (SettingsError)."""
        try:
            base_url(self.predictor_url)
        except ValueError as error:
            raise SettingsError(f"YIWEN_PREDICTOR_URL {error}") from error

    @property
    def predictor_base_url(self) -> str:
        """``predictor_url`` with its scheme and without a slash at the end."""
        return base_url(self.predictor_url)


def base_url(url: str) -> str:
    """``host[:port]`` or a URL, as a URL.

    Raises:
        ValueError: it is neither; the message says what is wrong.
    """
    whole = url if "://" in url else f"http://{url}"
    parts = urlsplit(whole)
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://, or be host[:port]")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be http[s]://host[:port]")
    if parts.port == 0:  # reading it checks that it is a number up to 65535
        raise ValueError("must not have port 0")
    return whole.rstrip("/")
