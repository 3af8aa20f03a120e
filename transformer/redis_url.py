"""Parses ``YIWEN_REDIS_URL``; :mod:`transformer.cache.redis_client` connects.

====================================================  ==========================================================
``redis://[user@]host[:6379][/db]``                   one server, or a proxy in front of several
``redis+sentinel://[user@]host[:26379],.../name[/db]``  the primary that these Sentinels call ``name``
``redis+cluster://[user@]host[:6379],...``            a cluster, found through any of these nodes
====================================================  ==========================================================

``rediss`` instead of ``redis`` is TLS.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

_FORMS = (
    "redis://[user@]host[:port][/db], redis+sentinel://[user@]host[:port],.../name[/db] or "
    "redis+cluster://[user@]host[:port],... (rediss for TLS)"
)


class Topology(Enum):
    """How the servers of one store are arranged."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The address of a Redis store, without secrets."""

    topology: Topology
    hosts: tuple[tuple[str, int], ...]
    """Name and port; for Sentinel those of the Sentinels."""
    tls: bool = False
    user: str | None = None
    """ACL user; None is Redis' ``default``."""
    database: int = 0
    service: str = ""
    """What the Sentinels call the primary."""

    def __str__(self) -> str:
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.topology.value} {hosts}{'/' + self.service if self.service else ''}"


def parse_redis_url(url: str) -> RedisAddress:
    """Parse a URL.

    Raises:
        ValueError: it is invalid, or holds a password; the message says what is wrong and repeats no part of it.
    """
    scheme, separator, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if not separator or base not in ("redis", "rediss") or kind not in ("", "sentinel", "cluster"):
        raise ValueError(f"must be {_FORMS}")
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    if ":" in user:
        raise ValueError("must not hold a password: put it into a file and set YIWEN_REDIS_PASSWORD_FILE")
    if "?" in rest or "#" in rest:
        raise ValueError(
            "must not have parameters: timeouts and TLS are settings of their own (YIWEN_REDIS_*)"
        )
    topology = Topology(kind or "standalone")
    parsed = tuple(_host(part, 26379 if topology is Topology.SENTINEL else 6379) for part in hosts.split(","))
    if topology is Topology.STANDALONE and len(parsed) > 1:
        raise ValueError("names several hosts: use redis+sentinel:// or redis+cluster://")
    service, database = _path(topology, path)
    return RedisAddress(topology, parsed, base == "rediss", unquote(user) if at else None, database, service)


def _host(text: str, default_port: int) -> tuple[str, int]:
    name, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        name, port = text, str(default_port)
    name = name.removeprefix("[").removesuffix("]")
    if not name or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"must name hosts as host[:port]; it must be {_FORMS}")
    return name, int(port)


def _path(topology: Topology, path: str) -> tuple[str, int]:
    """The Sentinels' name of the primary, and the number of the database."""
    parts = path.split("/") if path else []
    service = parts.pop(0) if topology is Topology.SENTINEL and parts else ""
    if topology is Topology.SENTINEL and not service:
        raise ValueError("must end with the primary's name: redis+sentinel://host/name")
    database = parts.pop(0) if parts else "0"
    if parts or not database.isdecimal():
        raise ValueError("has a path that is no database number")
    if topology is Topology.CLUSTER and database != "0":
        raise ValueError("names a database, but a cluster has only 0")
    return service, int(database)
