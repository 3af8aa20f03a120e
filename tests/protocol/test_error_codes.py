from __future__ import annotations

import grpc
import pytest

import transformer.errors
from protocol import errors, prompt_errors
from protocol.error_codes import PER_TEXT_CODES, ErrorCode, Origin
from protocol.errors import YiwenError, error_from_status


def _classes(cls: type[YiwenError] = YiwenError) -> set[type[YiwenError]]:
    return {cls}.union(*map(_classes, cls.__subclasses__()))


def test_each_class_keeps_the_status_of_its_base() -> None:
    assert {transformer.errors.ConnectionsBusy, prompt_errors.TextTooLong} <= _classes()
    for cls in _classes() - {YiwenError}:
        base = cls.__mro__[1]
        if base is not YiwenError:
            assert cls.code.http_status == base.code.http_status, cls  # type: ignore[attr-defined]


def test_errors_of_the_transformer_have_codes_of_it() -> None:
    for cls in _classes():
        if cls.__module__ == transformer.errors.__name__:
            assert cls.code.origin is not Origin.PREDICTOR, cls


@pytest.mark.parametrize("code", ErrorCode)
def test_each_code_has_a_status_of_http_and_of_grpc(code: ErrorCode) -> None:
    assert 400 <= code.http_status < 600
    assert grpc.StatusCode[code.grpc_status] is not grpc.StatusCode.OK
    assert code.value == code.name.lower()
    assert code.meaning.endswith(".")
    assert code.fix.endswith(".")


def test_codes_of_one_status_have_one_grpc_status() -> None:
    for code in ErrorCode:
        assert code.grpc_status == ErrorCode.of_status(code.http_status).grpc_status


def test_a_429_says_which_limit_was_reached() -> None:
    reached = {code.value for code in ErrorCode if code.http_status == 429}
    assert {"connections_busy", "queue_full", "admission_budget_full"} <= reached


def test_a_predictor_has_no_error_of_a_text() -> None:
    assert {code for code in PER_TEXT_CODES if code.origin is Origin.PREDICTOR} == set()
    assert ErrorCode.TEXT_TOO_LONG not in ErrorCode.of_predictor()


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_survives_the_wire(code: ErrorCode) -> None:
    error = error_from_status(code.http_status, "words", code=code.value, serving="r")
    unknown = code.http_status in (401, 403, 405, 408, 415, 431)  # no predictor answers a transformer so
    assert error.code is (ErrorCode.INTERNAL if unknown else code)


@pytest.mark.parametrize("code", [None, "of a later version", "text_too_long"])
def test_a_code_that_does_not_fit_the_status_is_ignored(code: str | None) -> None:
    error = error_from_status(429, "words", code=code, retry_after_s=3)
    assert type(error) is errors.Overloaded
    assert (error.code, error.retry_after_s) == (ErrorCode.OVERLOADED, 3)
