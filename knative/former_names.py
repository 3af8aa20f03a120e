"""Former names of a document's fields, refused with the name that they have now."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def refuse_former_names(
    document: object, renamed: Mapping[str, str], *, place: str, error: Callable[[str], Exception]
) -> None:
    """Refuse a document that has a field by its former name.

    Args:
        document: what a parser made; only a mapping is looked at.
        renamed: former names, and the names now.
        place: where the document is, for the message.
        error: makes the exception that is raised, from a message.

    Raises:
        Exception: what ``error`` makes.
    """
    for name in document if isinstance(document, Mapping) else ():
        if name in renamed:
            raise error(f"{place} has the unknown field {name}, did you mean {renamed[name]}? Rename it")
