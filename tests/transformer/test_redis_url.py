from __future__ import annotations

import pytest

from transformer.redis_url import RedisAddress, Topology, parse_redis_url

ALONE, SENTINEL, CLUSTER = Topology.STANDALONE, Topology.SENTINEL, Topology.CLUSTER


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache", RedisAddress(ALONE, (("cache", 6379),))),
        ("rediss://me@cache:1/3", RedisAddress(ALONE, (("cache", 1),), tls=True, user="me", database=3)),
        ("redis://a%40b@[::1]:7/", RedisAddress(ALONE, (("::1", 7),), user="a@b")),
        ("redis://[::1]", RedisAddress(ALONE, (("::1", 6379),))),
        (
            "redis+sentinel://a,b:5/primary/2",
            RedisAddress(SENTINEL, (("a", 26379), ("b", 5)), database=2, service="primary"),
        ),
        ("rediss+cluster://a:1,b", RedisAddress(CLUSTER, (("a", 1), ("b", 6379)), tls=True)),
    ],
)
def test_every_topology_has_its_url(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("cache:6379", "must be redis://"),
        ("http://cache", "must be redis://"),
        ("redis+mesh://cache", "must be redis://"),
        ("redis://", "host"),
        ("redis://cache:0", "host"),
        ("redis://cache:66000", "host"),
        ("redis://cache:x", "host"),
        ("redis://a,b", "several hosts"),
        ("redis://cache/x", "database number"),
        ("redis://cache/1/2", "database number"),
        ("redis+sentinel://cache", "primary's name"),
        ("redis+cluster://cache/1", "only 0"),
        ("redis://cache?socket_timeout=1", "parameters"),
    ],
)
def test_what_is_no_address_says_so(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_redis_url(url)


@pytest.mark.parametrize(
    "url", ["redis://me:geheim@cache", "redis://:geheim@cache", "redis+cluster://u:geheim@a,b"]
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="YIWEN_REDIS_PASSWORD_FILE") as caught:
        parse_redis_url(url)
    assert "geheim" not in str(caught.value)
