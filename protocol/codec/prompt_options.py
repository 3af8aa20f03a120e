"""What of a request goes into the prompt besides the texts: ``context`` and ``formality``."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.codec.arrays import Values
from protocol.codec.parameters import Parameters
from protocol.codec.tables import texts
from protocol.errors import InvalidRequest
from protocol.messages import Formality
from protocol.tensors import CONTEXT


def contexts_of(values: Mapping[str, Values], parameters: Parameters, count: int) -> tuple[str, ...]:
    """The context of each of ``count`` texts, from the tensor or the parameter; empty if there is none.

    Args:
        values: of the tensors, by name.
        parameters: of the request.
        count: number of texts.

    Raises:
        InvalidRequest: there are both, or another number of contexts.
    """
    given, parameter = texts(values, CONTEXT), context_of(parameters)
    if given is None:
        return (parameter,) * count if parameter else ()
    if parameter:
        raise InvalidRequest("context is there twice, as tensor and as parameter; send one of them")
    if len(given) not in (1, count):
        raise InvalidRequest(
            f"input context has {len(given)} values; send 1, or one for each of {count} texts"
        )
    contexts = tuple(given) * count if len(given) == 1 else tuple(given)
    return contexts if any(contexts) else ()


def context_of(parameters: Parameters) -> str:
    """The parameter ``context``; empty if it is absent or empty.

    Raises:
        InvalidRequest: it is no string.
    """
    value = parameters.values.get(CONTEXT.name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest("parameter context must be a string: the text around the one to translate")
    return value or ""


def formality_of(parameters: Parameters) -> Formality:
    """The parameter ``formality``; the default if it is absent.

    Raises:
        InvalidRequest: it is unknown.
    """
    name = parameters.text("formality") or Formality.DEFAULT.value
    try:
        return Formality(name)
    except ValueError:
        known = ", ".join(known.value for known in Formality)
        raise InvalidRequest(f"parameter formality is unknown; known are {known}") from None
