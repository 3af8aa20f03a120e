from __future__ import annotations

import subprocess
import sys
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from protocol.validation import STRICT, StrictModel, validate, validate_json, validate_strings


class Color(str, Enum):
    RED = "red"
    BLUE = "blue"


class Step(StrictModel):
    slots: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Step:
        if list(self.slots) != sorted(self.slots):
            raise ValueError("slots must rise")
        if not self.slots:
            raise ValueError("there is no size")
        return self


class Document(StrictModel):
    slots: Annotated[int, Field(ge=1)]
    share: float = Field(default=0.5, ge=0, le=1)
    kind: Literal["measured", "derived"] = "measured"
    color: Color = Color.RED
    step: Step | None = None
    steps: tuple[Step, ...] = ()
    named: dict[str, Step] = Field(default_factory=dict)
    rule: str = ""
    warm: bool = False

    @field_validator("rule")
    @classmethod
    def _check_rule(cls, value: str) -> str:
        if "!" in value:
            raise ValueError("must not shout")
        return value


class Refused(Exception):
    """The caller's own class of errors."""


def refusal(document: object, place: str = "F.json") -> str:
    with pytest.raises(Refused) as caught:
        validate(Document, document, place=place, error=Refused)
    return str(caught.value)


def test_a_document_becomes_a_frozen_value() -> None:
    document = {"slots": 4, "share": 1, "color": "blue", "step": {"slots": [1, 2], "seconds": [[1, 0.5]]}}
    read = validate(Document, document, error=Refused)
    assert read == Document(
        slots=4, share=1.0, color=Color.BLUE, step=Step(slots=(1, 2), seconds=((1.0, 0.5),))
    )
    with pytest.raises(ValidationError):
        read.slots = 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": "4"}, "F.json.slots must be a whole number, not a string"),
        ({"slots": True}, "F.json.slots must be a whole number, not true or false"),
        ({"slots": 1.5}, "F.json.slots must be a whole number, not a number"),
        ({"slots": None}, "F.json.slots must be a whole number, not null"),
        ({"slots": 0}, "F.json.slots is 0, it must be at least 1"),
        ({"share": 2}, "F.json.share is 2, it must be from 0 to 1"),
        ({"share": float("nan")}, "F.json.share must be a finite number"),
        ({"share": 10**400}, "F.json.share must be a finite number"),
        ({"share": "half"}, "F.json.share must be a number, not a string"),
        ({"kind": "guessed"}, "F.json.kind must be one of measured, derived, not 'guessed'"),
        ({"color": "green"}, "F.json.color must be one of red, blue, not 'green'"),
        ({"warm": 1}, "F.json.warm must be true or false, not a number"),
        ({"rule": "no!"}, "F.json.rule must not shout"),
        ({"step": {}}, "F.json.step.slots is missing: add it"),
        ({"step": []}, "F.json.step must be an object with named fields, not a list"),
        ({"step": {"slots": [2, 1]}}, "F.json.step.slots must rise"),
        ({"step": {"slots": []}}, "F.json.step: there is no size"),
        ({"steps": 3}, "F.json.steps must be a list, not a number"),
        ({"steps": [{"slots": [1, "two"]}]}, "F.json.steps[0].slots[1] must be a whole number, not a string"),
        ({"named": {"a": {"slots": [2, 1]}}}, "F.json.named.a.slots must rise"),
        (
            {"steps": [{"slots": [1], "second": 1}]},
            "F.json.steps[0] has the unknown field second: remove it, or look for a typing error, did you mean "
            "seconds?; known are seconds, slots",
        ),
    ],
)
def test_a_fault_names_the_field_the_rule_and_the_value(changes: dict[str, Any], message: str) -> None:
    assert refusal({"slots": 4, **changes}) == message


def test_all_faults_are_named_at_once() -> None:
    assert refusal({"share": -1, "slot": 2}) == (
        "F.json.slots is missing: add it; F.json.share is -1, it must be from 0 to 1; F.json has the unknown field "
        "slot: remove it, or look for a typing error, did you mean slots?; known are color, kind, named, rule, "
        "share, slots, step, steps, warm"
    )


@pytest.mark.parametrize(
    ("document", "place", "message"),
    [
        ([], "F.json", "F.json must be an object with named fields, not a list"),
        (None, "", "the document must be an object with named fields, not null"),
        ({"slots": 0}, "", "slots is 0, it must be at least 1"),
    ],
)
def test_the_place_may_be_the_document_itself(document: object, place: str, message: str) -> None:
    assert refusal(document, place) == message


def test_text_that_is_no_json_cannot_be_read() -> None:
    with pytest.raises(Refused, match=r"^F\.json cannot be read: EOF"):
        validate_json(Document, b'{"slots"', place="F.json", error=Refused)


@dataclass(frozen=True, slots=True, config=STRICT)
class Settings:
    url: str = Field(validation_alias="X_URL")
    slots: int = Field(default=8, ge=1, le=64, validation_alias="X_SLOTS")
    warm: bool = Field(default=True, validation_alias="X_WARM")


def test_settings_are_read_from_strings() -> None:
    read = validate_strings(Settings, {"X_URL": "here", "X_SLOTS": "4", "X_WARM": "off"}, error=Refused)
    assert read == Settings("here", slots=4, warm=False)


def test_settings_are_named_as_in_the_environment() -> None:
    with pytest.raises(Refused) as caught:
        validate_strings(Settings, {"X_SLOTS": "65", "X_WARM": "maybe", "X_SLOT": "4"}, error=Refused)
    assert str(caught.value) == (
        "X_URL is missing; X_SLOTS must be at most 64, not 65; X_WARM must be true or false, not 'maybe'; "
        "X_SLOT is not a setting, did you mean X_SLOTS?"
    )


def test_the_rest_of_protocol_does_not_import_pydantic() -> None:
    program = (
        "import sys, protocol.release, protocol.glossary, protocol.messages, protocol.deadline, protocol.errors;"
        "print([name for name in ('pydantic', 'pydantic_core', 'kserve') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
