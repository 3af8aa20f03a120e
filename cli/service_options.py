"""Options of every command that calls a running service: its URL, HTTP headers and a bearer token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

TOKEN_FILE_VARIABLE = "YIWEN_TOKEN_FILE"

Header = Annotated[
    list[str] | None,
    typer.Option(
        "--header", "-H", metavar="'NAME: VALUE'", help="HTTP header of every request; may be repeated"
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar=TOKEN_FILE_VARIABLE,
        help="file with a bearer token for the service",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """Base of the options of commands that call a service."""

    header: Header = None
    token_file: TokenFile = None

    def http_headers(self) -> dict[str, str]:
        """Headers of every request.

        Raises:
            typer.BadParameter: a header has no colon.
            OSError: the token's file cannot be read.
        """
        headers = {}
        for text in self.header or ():
            name, colon, value = text.partition(":")
            if not colon or not name.strip():
                raise typer.BadParameter(f"{text!r} is not NAME: VALUE", param_hint="'--header'")
            headers[name.strip()] = value.strip()
        if self.token_file is not None:
            token = self.token_file.expanduser().read_text(encoding="utf-8").strip()
            headers["Authorization"] = f"Bearer {token}"
        return headers
