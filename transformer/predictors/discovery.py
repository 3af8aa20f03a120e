"""Addresses at which predictors of this transformer's release may be found, in three ways.

=============  ===================================================================================================
``address``    ``YIWEN_PREDICTOR_URL`` alone: one predictor on this machine.
``tags``       KServe in Knative mode gives the revisions of a canary addresses of their own, by a tag before the
               host: ``prev-`` for the previous one, and ``latest-`` where the InferenceService has the annotation
               ``serving.kserve.io/enable-tag-routing: "true"``.
``services``   A Service for each release, which selects the predictor pods that have the release's label: for
               KServe in Standard mode, which has no tags, and for pods that a Knative revision keeps when its
               traffic and its tag are gone. inferenceservices/components/release-service makes it.
=============  ===================================================================================================

Which address serves which release is asked by :mod:`transformer.predictors.release_search`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

from protocol.kubernetes.release_service import release_service_name
from transformer.config import TransformerConfig, base_url

TAGS = ("latest", "prev")
"""As KServe names them; its own choice, not configurable there."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a predictor listens."""

    name: str
    """For metrics: ``main``, ``latest``, ``prev``, ``release``, or ``tagged1`` and so on."""
    url: str


def main_address(config: TransformerConfig) -> Address:
    """The default address of requests."""
    return Address("main", config.predictor_base_url)


def other_addresses(config: TransformerConfig) -> tuple[Address, ...]:
    """Further addresses at which predictors of the release may be found, without duplicates.

    They are those of ``YIWEN_PREDICTOR_TAGGED_URLS``, or else what the ways of ``YIWEN_PREDICTOR_DISCOVERY`` make of
    the host of ``YIWEN_PREDICTOR_URL``; none if that is an IP address.
    """
    if config.predictor_tagged_urls:
        urls = enumerate(config.predictor_tagged_urls, start=1)
        return tuple(Address(f"tagged{number}", base_url(url)) for number, url in urls)
    main = urlsplit(config.predictor_base_url)
    if _is_ip_address(main.hostname or ""):
        return ()
    found = (address for way in config.predictor_discovery for address in _WAYS[way](main, config))
    return tuple(dict.fromkeys(found))


def _no_others(_main: SplitResult, _config: TransformerConfig) -> tuple[Address, ...]:
    return ()


def _tagged_revisions(main: SplitResult, _config: TransformerConfig) -> tuple[Address, ...]:
    host = main.netloc.rpartition("@")[2]
    return tuple(Address(tag, urlunsplit(main._replace(netloc=f"{tag}-{host}"))) for tag in TAGS)


def _release_service(main: SplitResult, config: TransformerConfig) -> tuple[Address, ...]:
    """The Service of the release, at port 80: its name is the predictor's with that of the release's directory."""
    predictor, dot, domain = (main.hostname or "").partition(".")
    host = f"{release_service_name(predictor, config.release.name)}{dot}{domain}"
    return (Address("release", f"http://{host}"),)


_WAYS: dict[str, Callable[[SplitResult, TransformerConfig], tuple[Address, ...]]] = {
    "address": _no_others,
    "tags": _tagged_revisions,
    "services": _release_service,
}


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
