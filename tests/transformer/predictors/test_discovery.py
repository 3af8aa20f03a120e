from __future__ import annotations

from pathlib import Path

import pytest

from serving.settings import SettingsError
from transformer.config import TransformerConfig
from transformer.predictors.discovery import main_address, other_addresses


def config(
    url: str, *tagged: str, discovery: tuple[str, ...] = ("tags",), release: str = "r"
) -> TransformerConfig:
    return TransformerConfig(
        release=Path("/mnt/models/releases") / release,
        predictor_url=url,
        predictor_tagged_urls=tagged,
        predictor_discovery=discovery,
    )


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            "shop-predictor.shop",
            ["http://latest-shop-predictor.shop", "http://prev-shop-predictor.shop"],
        ),
        ("https://p.ns.svc:8443/x/", ["https://latest-p.ns.svc:8443/x", "https://prev-p.ns.svc:8443/x"]),
        ("127.0.0.1:8082", []),
        ("http://[::1]:8082", []),
    ],
)
def test_tags_are_looked_for_where_knative_puts_them(url: str, found: list[str]) -> None:
    assert [address.url for address in other_addresses(config(url))] == found
    assert main_address(config(url)).name == "main"


@pytest.mark.parametrize(
    ("url", "release", "found"),
    [
        ("yiwen-predictor.yiwen", "qwen3-1-7b", "http://yiwen-predictor-release-qwen3-1-7b.yiwen"),
        ("yiwen-predictor.yiwen:8080", "Qwen3_1.7B", "http://yiwen-predictor-release-qwen3-1-7b.yiwen"),
        ("yiwen-predictor", "demo", "http://yiwen-predictor-release-demo"),
    ],
)
def test_the_service_of_a_release_is_named_after_its_directory(url: str, release: str, found: str) -> None:
    (address,) = other_addresses(config(url, discovery=("services",), release=release))
    assert (address.name, address.url) == ("release", found)


def test_ways_are_asked_together_in_their_order() -> None:
    both = other_addresses(config("p.ns", discovery=("tags", "services")))
    assert [address.name for address in both] == ["latest", "prev", "release"]
    assert other_addresses(config("p.ns", discovery=("address",))) == ()


def test_addresses_that_are_listed_are_taken_as_they_are() -> None:
    listed = other_addresses(config("p.ns", "10.0.0.7:8080", "https://other/", discovery=("services",)))
    assert [(address.name, address.url) for address in listed] == [
        ("tagged1", "http://10.0.0.7:8080"),
        ("tagged2", "https://other"),
    ]


def test_a_listed_address_that_is_none_ends_the_start() -> None:
    with pytest.raises(SettingsError, match="YIWEN_PREDICTOR_TAGGED_URLS must"):
        config("p.ns", "ftp://other")


def test_an_unknown_way_ends_the_start() -> None:
    with pytest.raises(SettingsError, match="YIWEN_PREDICTOR_DISCOVERY must be of address, tags, services"):
        config("p.ns", discovery=("dns",))
