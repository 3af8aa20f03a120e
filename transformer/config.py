"""The transformer's settings, read once at the start from ``YIWEN_*`` by :mod:`serving.settings`.

Settings of both services (ports, drain, body limits, logs) are in :class:`serving.settings.ServerSettings`. The
prompt format is not a setting: it is in the release's ``translation.json``.
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
API_NAMES = ("deepl", "libretranslate", "openai", "google", "deeplx", "immersive", "page")
"""See :mod:`transformer.apis`."""


@dataclass(frozen=True, slots=True, config=SETTINGS)
class TransformerConfig:
    """The transformer's settings; each field's docstring gives unit, effect, and the reason for the default."""

    release: Path
    """Directory of the release whose tokenizer and languages are served. Required."""

    predictor_url: str
    """Where the predictor listens: ``http[s]://host[:port]``, or ``host[:port]`` as KServe passes it.
    Required."""

    verify_release: bool = True
    """Whether the start fails if the digest of the tokenizer, `translation.json` or `glossary.json` differs from the
    release's. Takes milliseconds. Turn it off to try out changes before the release is rebuilt."""

    predictor_model: str | None = None
    """Model name in the predictor's URL. None: the transformer's own; KServe gives both the same name."""

    predictor_tagged_urls: CommaSeparated = ()
    """Addresses to try, separated by commas, when the predictor at `YIWEN_PREDICTOR_URL` serves another release than
    this transformer, as in a canary. Empty: those that `YIWEN_PREDICTOR_DISCOVERY` derives from that URL's host."""

    predictor_discovery: CommaSeparated = ("tags",)
    """How predictors of this transformer's release are found, besides `YIWEN_PREDICTOR_URL`; several are separated by
    commas. `tags`: `latest-` and `prev-` before the URL's host, which is how Knative names tagged revisions
    (`latest-` only with the annotation `serving.kserve.io/enable-tag-routing: "true"`). `services`: a Service for
    each release, `HOST-release-DIRECTORY` (docs/guides/manifests.md). `address`: no discovery, for an IP address in
    the URL."""

    ready_without_predictor: bool = False
    """Whether this transformer reports ready before it has found a predictor of its release. Off: a new release gets
    no traffic until both of its services are up. Turn it on where no earlier release takes the traffic, and cached
    texts are to be answered at once (the component `edge`)."""

    release_check_s: float = Field(default=60.0, ge=0.0)
    """Seconds that a tagged address, once found, is used before `YIWEN_PREDICTOR_URL` is tried again. After the
    rollout that URL serves this release; until then each try costs one refused request and one search, some
    milliseconds."""

    cache_bytes: int = Field(default=64 * MIB, ge=0)
    """Bytes of the in-process cache; 0 turns it off. 64 MiB hold about 100,000 product titles; the pod needs
    about 300 MiB without it."""

    redis_url: str | None = None
    """Redis (6.2 or later) or Valkey that all replicas share: `redis://[user@]host[:port][/db]`,
    `redis+sentinel://[user@]host[:port],.../name[/db]` or `redis+cluster://[user@]host[:port],...`; `rediss` for TLS.
    None: the in-process cache alone."""

    redis_password_file: Path | None = None
    """File with the password of Redis, read for every new connection, so it may be rotated. It is not an
    environment variable, since environments end up in logs and dumps."""

    redis_ca_file: Path | None = None
    """PEM certificates that the certificate of Redis is checked against. None: the system's."""

    redis_ttl_s: float = Field(default=7 * DAY_S, ge=1.0)
    """Seconds that a translation stays in Redis. A week: a release is usually replaced sooner, and its entries
    then expire."""

    redis_ttl_jitter: float = Field(default=0.1, ge=0.0, le=1.0)
    """Largest fraction of ``redis_ttl_s`` by which an entry's lifetime is shortened, at random, so that entries
    imported together do not expire together."""

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
    """Bytes of values that may wait to be written to Redis; new values are dropped while it is full. 8 MiB
    are about 30,000 product titles, which a slow Redis takes some seconds to store."""

    redis_failures: int = Field(default=3, ge=1)
    """Failed or slow commands that open the circuit breaker, if they are also half of all commands within
    `YIWEN_REDIS_WINDOW_S`, so that one pause of Redis among many answers does not. Redis is then not used until a
    probe succeeds."""

    redis_window_s: float = Field(default=1.0, ge=0.01)
    """Length of the window over which failed and slow commands are counted, in seconds."""

    redis_slow_s: float = Field(default=0.05, ge=0.001)
    """Seconds after which an answer of Redis counts as slow. A cache whose median answer takes longer than 50 ms
    costs more time than it saves."""

    redis_probe_s: float = Field(default=1.0, ge=0.01)
    """Longest time to the first probe, in seconds; each replica waits a random time between half and all of it.
    Doubles with every probe that fails."""

    redis_probe_max_s: float = Field(default=15.0, ge=0.01)
    """Longest time between probes, in seconds; a Redis that is back stays unused at most this long."""

    lease_s: float = Field(default=2.0, ge=0.05)
    """Seconds after which a lease expires and other replicas translate its text themselves, because its holder has
    died. A living holder renews it after a third of that; 2 s are longer than the pauses of a living process."""

    max_texts: int = Field(default=1024, ge=1)
    """Texts in one request; more are refused with 413. 1024 short titles keep one request's work in this process
    under 0.1 s, so that one caller does not delay the others."""

    max_text_bytes: int = Field(default=2 * MIB, ge=1)
    """UTF-8 bytes of all texts of one request; more are refused with 413. 2 MiB are 2 KiB for each of 1024 texts.
    Splitting, markup and detection hold a multiple of it in memory."""

    text_threads: int = Field(default=2, ge=1)
    """Requests whose texts are split or tokenized at once, in threads; further large ones wait. Two keep a small
    request from waiting for a large one, and bound what both hold in memory."""

    predictor_group_size: int = Field(default=8, ge=1)
    """Texts (sentences, where texts are split) in one request to the predictor; a caller's request with more misses
    becomes several. 1 where Knative scales by requests, so that each request that it counts fills one slot. Each
    request costs both services some 3 ms of CPU time together, which 8 share among them; larger groups save little
    more, and short requests wait longer behind them."""

    predictor_groups_in_flight: int = Field(default=3, ge=1)
    """Requests to the predictor that one caller's request has in flight; the rest of its texts wait here, and short
    requests overtake them. Times `YIWEN_PREDICTOR_GROUP_SIZE` it should be the slots of one predictor and one group
    more (24 for its default of 16 slots): its slots stay full, and no more than one group waits for them."""

    max_connections: int = Field(default=512, ge=1)
    """Connections to the predictor, each carrying one request at a time; more requests wait ``pool_timeout_s``. 512
    are more than one predictor has slots, so the predictor's own admission decides, not this."""

    connect_timeout_s: float = Field(default=2.0, ge=0.001)
    """Seconds to open a connection. Inside a cluster this takes milliseconds; 2 s allow one lost SYN (resent after
    1 s)."""

    read_timeout_s: float = Field(default=60.0, ge=0.001)
    """Seconds without a byte from the predictor, from the moment sending begins; a peer that stops reading is found
    by the same timeout. The predictor answers when all tokens are there, so this is as long as the longest deadline;
    a request's own deadline shortens it."""

    pool_timeout_s: float = Field(default=5.0, ge=0.001)
    """Seconds to wait for one of ``max_connections``; then 429. A longer wait would hide an overload from callers."""

    admission_tokens: int = Field(default=262_144, ge=1)
    """Tokens (prompt plus the longest answer allowed) of all cache misses in flight in this process; beyond it 429.
    Twice the predictor's `YIWEN_QUEUE_TOKENS`, so that in an ordinary overload the predictor, which knows its slots,
    refuses first."""

    cold_start_timeout_s: float = Field(default=20.0, ge=0.0)
    """Seconds that a request waits for a predictor that is not up; then 503. A stream waits until its deadline, since
    it is told that it waits. 0 answers 503 at once. 20 s are longer than a small release takes to start and shorter
    than the 30 s after which many clients give up."""

    cold_start_waiters: int = Field(default=1000, ge=1)
    """Requests that may wait for a predictor that is not up; more get 503 at once. `YIWEN_ADMISSION_TOKENS` bounds
    them too."""

    apis: CommaSeparated = API_NAMES
    """The public APIs that are served besides the v2 protocol, and the page at `/` (docs/apis.md), separated by
    commas; `none` for none of them."""

    api_keys_file: Path | None = None
    """File of API keys (`yiwen keys`), read again when it changes, such as a Secret's. None: everybody may call. With
    keys every translation needs one, over the v2 protocol and gRPC too."""

    fair_texts: int = Field(default=32, ge=0)
    """Texts in flight to the predictor of all callers together where API keys are used; more wait in a queue that is
    fair to callers by their priority. A quarter is kept for callers that have none in flight; the rest should fill a
    predictor's slots and one group more (24 for its default of 16 slots). 0 for no limit."""

    glossary_dir: Path | None = None
    """Directory in which the DeepL API keeps glossaries, one file each; replicas may share it. None: in Redis if
    `YIWEN_REDIS_URL` is set, else in this process' memory, where a restart loses them."""

    suggestions: bool = False
    """Whether LibreTranslate's `/suggest` keeps better translations for review (`yiwen cache suggestions`), and those
    that were accepted are served in place of the model's. Off: as with LibreTranslate, since everybody who may
    translate may suggest."""

    suggestions_dir: Path | None = None
    """Directory in which suggestions and accepted translations are kept; replicas may share it. None: in Redis, which
    `YIWEN_REDIS_URL` names then."""

    keepalive_s: float = Field(default=30.0, ge=0.0)
    """Seconds an idle connection is kept. Shorter than the server's 65 s, so that this side closes first;
    otherwise a request could be sent on a connection that the server is closing."""

    def __post_init__(self) -> None:
        """Check the addresses (SettingsError)."""
        try:
            base_url(self.predictor_url)
        except ValueError as error:
            raise SettingsError(f"YIWEN_PREDICTOR_URL {error}") from error
        if unknown := [way for way in self.predictor_discovery if way not in DISCOVERY_WAYS]:
            raise SettingsError(
                f"YIWEN_PREDICTOR_DISCOVERY must be of {', '.join(DISCOVERY_WAYS)}, not {unknown[0]!r}"
            )
        if unknown := [name for name in self.apis if name not in (*API_NAMES, "none")]:
            raise SettingsError(f"YIWEN_APIS must be of {', '.join(API_NAMES)}, not {unknown[0]!r}")
        if self.suggestions and self.suggestions_dir is None and self.redis_url is None:
            raise SettingsError(
                "YIWEN_SUGGESTIONS needs YIWEN_SUGGESTIONS_DIR or YIWEN_REDIS_URL to keep them in"
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
    """Convert ``host[:port]`` or a URL to a URL.

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
