"""The transformer's settings, read once at the start from ``YIWEN_*`` by :mod:`serving.settings`.

What both services share (ports, drain, limits of a body, logs) is in :class:`serving.settings.ServerSettings`. How a
text becomes a prompt is not a setting: that is the release's ``translation.json``.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field
from pydantic.dataclasses import dataclass

from serving.settings import SETTINGS, CommaSeparated, SettingsError
from transformer.redis_url import parse_redis_url

MIB = 1024 * 1024
DAY_S = 86_400.0
DISCOVERY_WAYS = ("address", "tags", "services")
"""See :mod:`transformer.predictors.discovery`."""


@dataclass(frozen=True, slots=True, config=SETTINGS)
class TransformerConfig:
    """Each field's docstring gives its unit, its effect, and the reason for its default."""

    release: Path
    """Directory of the release whose tokenizer and languages are served. No default: nothing fits all."""

    predictor_url: str
    """Where the predictor listens: ``http[s]://host[:port]``, or ``host[:port]`` as KServe passes it. No default."""

    verify_release: bool = True
    """Whether tokenizer, `translation.json` and `glossary.json` are compared with their digests at the start; one
    that differs ends it. Takes milliseconds. Off: for trying out changes before the release is rebuilt."""

    predictor_model: str | None = None
    """Model name in the predictor's URL. None: the transformer's own, which is what KServe makes both of."""

    predictor_tagged_urls: CommaSeparated = ()
    """Addresses to ask, separated by commas, when the predictor at `YIWEN_PREDICTOR_URL` is of another release than
    this transformer, as in a canary. Empty: what `YIWEN_PREDICTOR_DISCOVERY` makes of that URL's host."""

    predictor_discovery: CommaSeparated = ("tags",)
    """How predictors of this transformer's release are found, besides `YIWEN_PREDICTOR_URL`; several are separated by
    commas. `tags`: `latest-` and `prev-` before the URL's host, which is how Knative names tagged revisions
    (`latest-` only with the annotation `serving.kserve.io/enable-tag-routing: "true"`). `services`: a Service for
    each release, `HOST-release-DIRECTORY` (docs/guides/manifests.md). `address`: nothing else, as with an IP address
    in the URL."""

    ready_without_predictor: bool = False
    """Whether this transformer is ready before it has once found a predictor of its release. Off: a new release gets
    no traffic until both of its services are up. On where there is no earlier release to keep the traffic, and
    cached texts are to be answered at once (the component `edge`)."""

    release_check_s: float = Field(default=60.0, ge=0.0)
    """Seconds that a tagged address, once found, is used before `YIWEN_PREDICTOR_URL` is tried again. That leads to
    this release when the rollout is over; until then each try costs a refusal and a search, some milliseconds."""

    cache_bytes: int = Field(default=64 * MIB, ge=0)
    """Bytes of the in-process cache; 0 turns it off. 64 MiB hold some 100,000 product titles, in a pod that needs
    about 300 MiB anyway."""

    redis_url: str | None = None
    """Redis (6.2 or later) or Valkey that all replicas share: `redis://[user@]host[:port][/db]`,
    `redis+sentinel://[user@]host[:port],.../name[/db]` or `redis+cluster://[user@]host[:port],...`; `rediss` for TLS.
    None: the in-process cache alone."""

    redis_password_file: Path | None = None
    """File with the password of Redis, read for every new connection, so it may be rotated. Not a variable of its
    own: environments end up in logs and dumps."""

    redis_ca_file: Path | None = None
    """PEM certificates that the certificate of Redis is checked against. None: the system's."""

    redis_ttl_s: float = Field(default=7 * DAY_S, ge=1.0)
    """Seconds that a translation stays in Redis. A week: a release is usually replaced sooner, and what it made
    then goes away by itself."""

    redis_ttl_jitter: float = Field(default=0.1, ge=0.0, le=1.0)
    """Part of ``redis_ttl_s`` by which each entry may live shorter, by chance, so that what was imported together
    does not expire together."""

    redis_connect_timeout_s: float = Field(default=0.2, ge=0.001)
    """Seconds to open a connection to Redis. Longer than this costs more than Redis saves."""

    redis_command_timeout_s: float = Field(default=0.1, ge=0.001)
    """Seconds for one command, of which Redis needs under 1 ms. The time in which this process stalls (garbage
    collection, one large request, a busy core) is not counted."""

    redis_max_connections: int = Field(default=32, ge=1)
    """Connections to Redis (in a cluster, to each node). At 1 ms each, 32 carry 32,000 look-ups a second."""

    redis_max_value_bytes: int = Field(default=64 * 1024, ge=64)
    """Largest value in Redis in bytes, text and translation together; larger ones stay in this process."""

    redis_queue_bytes: int = Field(default=8 * MIB, ge=1)
    """Bytes of values that may wait to be written to Redis; what comes while it is full is not written. 8 MiB are
    some 30,000 product titles: seconds of a Redis that is merely slow."""

    redis_failures: int = Field(default=3, ge=1)
    """Commands that failed or were slow after which requests go without Redis until a probe succeeds, provided that
    they are half of all commands of `YIWEN_REDIS_WINDOW_S`: one pause of Redis among many answers is none."""

    redis_window_s: float = Field(default=1.0, ge=0.01)
    """Seconds over which the share of failed and slow commands is taken."""

    redis_slow_s: float = Field(default=0.05, ge=0.001)
    """Seconds after which an answer of Redis is slow. A cache whose median answer takes longer than 50 ms costs all
    requests more than it saves some."""

    redis_probe_s: float = Field(default=1.0, ge=0.01)
    """Seconds until the first probe, at most; each replica waits between half and all of it, by chance. Doubles with
    every probe that fails."""

    redis_probe_max_s: float = Field(default=15.0, ge=0.01)
    """Bound of the seconds between probes: how long, at most, a Redis that came back stays unused."""

    lease_s: float = Field(default=2.0, ge=0.05)
    """Seconds after which other replicas take over the texts of a transformer that died while it had them translated.
    One that lives renews its leases after a third of that; 2 s are longer than the pauses of a process that
    lives."""

    max_texts: int = Field(default=1024, ge=1)
    """Texts in one request; more are refused with 413. 1024 short titles keep one request's work in this process
    under 0.1 s, so that one caller cannot hold up the others."""

    predictor_group_size: int = Field(default=4, ge=1)
    """Texts (sentences, where texts are split) in one request to the predictor; a caller's request with more misses
    becomes several. 1 where Knative scales by requests, so that each request that it counts fills one slot. Each
    request costs both services some 3 ms of CPU time together, which 4 share among them; larger groups save little
    more, and short requests wait longer behind them."""

    predictor_groups_in_flight: int = Field(default=5, ge=1)
    """Requests to the predictor that one caller's request has in flight; the rest of its texts wait here, and short
    requests overtake them. Times `YIWEN_PREDICTOR_GROUP_SIZE` it should be the slots of one predictor and one group
    more (20 for its default of 16 slots): its slots stay full, and no more than one group waits for them."""

    max_connections: int = Field(default=512, ge=1)
    """Connections to the predictor, each carrying one request at a time; more requests wait ``pool_timeout_s``. 512
    are more than one predictor has slots, so the predictor's own admission decides, not this."""

    connect_timeout_s: float = Field(default=2.0, ge=0.001)
    """Seconds to open a connection. Inside a cluster this takes milliseconds; 2 s allow one lost SYN (resent after
    1 s)."""

    read_timeout_s: float = Field(default=60.0, ge=0.001)
    """Seconds without a byte from the predictor, from the moment sending begins. It answers only when all tokens are
    there, so this is as long as the longest deadline; a request's own deadline shortens it. A peer that hangs while
    it is sent to is found by the same clock."""

    pool_timeout_s: float = Field(default=5.0, ge=0.001)
    """Seconds to wait for one of ``max_connections``; then 429. Longer waits would hide an overload from callers."""

    admission_tokens: int = Field(default=262_144, ge=1)
    """Tokens (prompt plus the longest answer allowed) of texts that missed the cache and are under way in this
    process; beyond it 429. Twice the predictor's `YIWEN_QUEUE_TOKENS`, so that in an ordinary overload the
    predictor, which knows its slots, refuses first."""

    cold_start_timeout_s: float = Field(default=20.0, ge=0.0)
    """Seconds that a request waits for a predictor that is not up; then 503. A stream, which is told that it waits,
    has until its deadline. 0 answers 503 at once. 20 s are longer than a small release takes to start and shorter
    than the 30 s after which many clients give up."""

    cold_start_waiters: int = Field(default=1000, ge=1)
    """Requests that may wait for a predictor that is not up; more get 503 at once. What they hold is bounded by
    `YIWEN_ADMISSION_TOKENS` too."""

    keepalive_s: float = Field(default=30.0, ge=0.0)
    """Seconds an idle connection is kept. Under the server's 65 s, so that this side closes first: the other way
    round, a request can run into a connection that is just being closed."""

    def __post_init__(self) -> None:
        """Refuse addresses that are none (SettingsError)."""
        try:
            base_url(self.predictor_url)
        except ValueError as error:
            raise SettingsError(f"YIWEN_PREDICTOR_URL {error}") from error
        if unknown := [way for way in self.predictor_discovery if way not in DISCOVERY_WAYS]:
            raise SettingsError(
                f"YIWEN_PREDICTOR_DISCOVERY must be of {', '.join(DISCOVERY_WAYS)}, not {unknown[0]!r}"
            )
        for url in self.predictor_tagged_urls:
            try:
                base_url(url)
            except ValueError as error:
                raise SettingsError(f"YIWEN_PREDICTOR_TAGGED_URLS {error}") from error
        try:
            parse_redis_url(self.redis_url or "redis://localhost")
        except ValueError as error:
            raise SettingsError(f"YIWEN_REDIS_URL {error}") from None

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
