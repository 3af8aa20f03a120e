"""Prices of a pod's hour by its component, slice and node type."""

from __future__ import annotations

from typing import Annotated, Literal

import yaml
from pydantic import Field

from inferenceservices.costs.usage import TRANSFORMER, CostError, PodUse
from protocol.validation import StrictModel, validate


class PriceEntry(StrictModel):
    """The price of the pods that it fits; a field that is not given fits all."""

    per_hour: Annotated[float, Field(ge=0)]
    """Of one pod: its GPU or slice, and its share of the node."""
    component: Literal["predictor", "transformer"] = "predictor"
    slice: str | None = None
    """MIG profile such as 1g.18gb, or full."""
    node: str | None = None
    """Instance type of the node."""

    def fits(self, pod: PodUse) -> bool:
        """Whether this is the price of a pod."""
        return (
            self.component == pod.component
            and self.slice in (None, pod.slice)
            and self.node in (None, pod.node_type)
        )


class PriceFile(StrictModel):
    """A file of prices; the first entry that fits a pod counts."""

    prices: Annotated[tuple[PriceEntry, ...], Field(min_length=1)]
    currency: str = "USD"

    def per_hour(self, pod: PodUse) -> float:
        """The price of a pod's hour; a transformer without an entry costs nothing.

        Raises:
            CostError: no entry fits a predictor.
        """
        for entry in self.prices:
            if entry.fits(pod):
                return entry.per_hour
        if pod.component == TRANSFORMER:
            return 0.0
        what = f"slice {pod.slice or 'not known'}, node type {pod.node_type or 'not known'}"
        raise CostError(
            f"there is no price for the predictor {pod.name} ({what}): add an entry for it, or one without slice and "
            "node that fits all; if its slice is not known, --slice says it"
        )


POD_HOURS = PriceFile(prices=(PriceEntry(per_hour=1.0),), currency="pod-hours")
"""Without prices: what the predictors' time is."""


def one_price(per_hour: float) -> PriceFile:
    """The same price for every predictor."""
    return PriceFile(prices=(PriceEntry(per_hour=per_hour),))


def parse_prices(text: str, place: str) -> PriceFile:
    """Prices in YAML or JSON.

    Args:
        text: of the file.
        place: its name, for messages.

    Raises:
        CostError: it is not such a file; the message names what is wrong.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CostError(f"{place} is not YAML: {error}") from error
    return validate(PriceFile, document, place=place, error=CostError)
