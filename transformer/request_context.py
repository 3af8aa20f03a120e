"""What the steps of :mod:`transformer.pipeline` know of a request, besides its texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.deadline import Deadline
from protocol.fast_dataclass import fast_dataclass


@dataclass(frozen=True, slots=True)
class CallerShare:
    """Whose request it is, for the fair queue in front of the predictor."""

    caller: str = ""
    """Id of the caller's key; empty where keys are not used."""
    weight: int = 1


EVERYBODY = CallerShare()


@fast_dataclass(frozen=True, slots=True)
class RequestContext:
    """One request in progress."""

    headers: Mapping[str, str]
    """Sent on to the predictor, as :func:`transformer.predictors.client.forwarded_headers` makes them."""
    max_new_tokens: int | None
    """The caller's limit for each answer, in tokens."""
    deadline: Deadline
    per_text: bool = False
    """Whether an error that concerns one text leaves the others alone."""
    share: CallerShare = EVERYBODY
