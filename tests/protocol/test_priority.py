"""The header Priority."""

from __future__ import annotations

import pytest

from protocol.priority import BULK_URGENCY, DEFAULT_URGENCY, priority_headers, urgency_for, urgency_of


@pytest.mark.parametrize("urgency", range(8))
def test_an_urgency_is_read_as_it_was_written(urgency: int) -> None:
    assert urgency_of(priority_headers(urgency)) == urgency


@pytest.mark.parametrize(
    ("value", "urgency"),
    [("u=1, i", 1), ("i, u=5", 5), ("u=2;x=1", 2), ("i", 3), ("u=9", 3), ("u=-1", 3), ("u=55", 3), ("", 3)],
)
def test_what_clients_of_http_send_is_understood(value: str, urgency: int) -> None:
    assert urgency_of({"priority": value}) == urgency


def test_bulk_is_less_urgent_than_a_request_without_the_header() -> None:
    assert urgency_of({}) == DEFAULT_URGENCY < BULK_URGENCY


def test_second_attempts_are_served_before_first_ones_and_those_of_bulk_are_bulk() -> None:
    first, second = (urgency_for(is_bulk=False, is_second_attempt=again) for again in (False, True))
    bulk, bulk_again = (urgency_for(is_bulk=True, is_second_attempt=again) for again in (False, True))
    assert second < first == DEFAULT_URGENCY < bulk_again < bulk == BULK_URGENCY
