"""Why no prompt can be made of a text."""

from __future__ import annotations

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, TooLong


class TextTooLong(TooLong):
    """413: one text has more tokens than the release takes, or more bytes than so many tokens can stand for."""

    code = ErrorCode.TEXT_TOO_LONG

    def __init__(self, index: int, size: int, limit: int, unit: str = "tokens") -> None:
        super().__init__(
            f"text {index}: it has {size} {unit}, this release takes at most {limit}; split it into shorter texts"
        )
        self.index = index


class ContextTooLong(TooLong):
    """413: the context of a text has more tokens than the release takes."""

    code = ErrorCode.CONTEXT_TOO_LONG

    def __init__(self, index: int, size: int, limit: int, unit: str = "tokens") -> None:
        super().__init__(
            f"text {index}: its context has {size} {unit}, this release takes at most {limit}; send the sentences "
            "next to the text alone"
        )
        self.index = index


class UnencodableText(InvalidRequest):
    """400: the tokenizer cannot write a text without control tokens, or knows none of its characters."""

    code = ErrorCode.INVALID_TEXT

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"text {index}: {reason}")
        self.index = index
