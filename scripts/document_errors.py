"""Writes docs/errors.md from the table of error codes.

`make check` fails when the page is not what this writes.
"""

from __future__ import annotations

import sys
from textwrap import fill

from generated_page import ROOT, write_or_check

from protocol.error_codes import PER_TEXT_CODES, ErrorCode, Origin

PAGE = ROOT / "docs" / "errors.md"

HEAD = """# Errors

Every error has a code beside its words. Clients and alerts rely on the code; the words may change.

| where | how it looks |
|---|---|
| REST | `{"error": "...", "code": "..."}` and the header `x-yiwen-error-code` |
| gRPC | the status and its details; the code in the trailing metadata `x-yiwen-error-code` |
| streams | an event `error` with `error`, `code` and `status`; over gRPC as above |
| log | the field `code` of the request's line |
| metrics | `yiwen_requests_rejected_total{model, status, code}`; all codes of a service are there from the start |

`Retry-After` (gRPC: `retry-after`) goes with 429 and 503. An answer without `x-yiwen-error-code` is not from
a service of ours but from something in between. Two errors of gRPC itself have no code: a message larger than
`YIWEN_MAX_BODY_BYTES` (RESOURCE_EXHAUSTED) and an unknown method (UNIMPLEMENTED).
"""

SECTIONS = (
    ("Of both services", Origin.SERVER),
    ("Of the transformer", Origin.TRANSFORMER),
    ("Of the predictor; the transformer passes them on", Origin.PREDICTOR),
)

PER_TEXT = """
## Errors of one text

A request of several texts fails with the error of the first bad one. With the parameter `on_error=per_text` (REST and
gRPC; `yiwen translate --on-error skip`) the good ones are answered, and the output `error` (BYTES [N]) holds for each
of the others `{"code": "...", "error": "..."}`; it is empty for the good ones. A text with an error has an empty
`translation`, confidence 0 and `cache` `none`, and is counted in `yiwen_transformer_text_errors_total{code}`.

"""

PER_TEXT_END = """
All other errors fail the whole request. So does the deadline if it passes before any text is complete; otherwise only
the texts that are not complete have the error.
"""

TAIL = """
This page is written by `python scripts/document_errors.py` from the table in `protocol/error_codes.py`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, origin in SECTIONS:
        rows = "".join(_row(code) for code in ErrorCode if code.origin is origin)
        parts.append(
            f"## {title}\n\n| code | HTTP | gRPC | meaning | what to do |\n|---|---|---|---|---|\n{rows}"
        )
    codes = ", ".join(f"`{code.value}`" for code in ErrorCode if code in PER_TEXT_CODES)
    per_text = f"{PER_TEXT}{fill(f'Errors of one text: {codes}.', 120)}\n{PER_TEXT_END}"
    return "\n".join(parts) + per_text + TAIL


def _row(code: ErrorCode) -> str:
    cells = (f"`{code.value}`", str(code.http_status), code.grpc_status, code.meaning, code.fix)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __file__))
