"""Writes docs/configuration.md from the settings classes: variables, defaults and docstrings of their fields.

`make check` fails if the page is out of date.
"""

from __future__ import annotations

import ast
import inspect
import sys
from typing import Any

from generated_page import ROOT, write_or_check
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from predictor.config import PredictorConfig
from serving.settings import ServerSettings, environment_names
from transformer.config import TransformerConfig

PAGE = ROOT / "docs" / "configuration.md"

HEAD = """# Configuration

Both services read `YIWEN_*` from the environment once, at the start. An unknown or malformed variable ends the
start with exit code 2 and one line that names them all. KServe's `--model_name`, `--predictor_host`, `--http_port`,
`--grpc_port`, `--workers` (1 only) and our `--release` do the same and win. `yiwen serve` gives each service its own.

This page is written by `python scripts/document_settings.py`.
"""

SECTIONS = (
    ("Both services", ServerSettings),
    ("The predictor", PredictorConfig),
    ("The transformer", TransformerConfig),
)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, cls in SECTIONS:
        parts.append(f"## {title}\n\n| variable | default | what it does |\n|---|---|---|\n{_rows(cls)}")
    return "\n".join(parts)


def _rows(cls: type[Any]) -> str:
    docs = _field_docs(cls)
    fields: dict[str, FieldInfo] = cls.__pydantic_fields__
    names = zip(environment_names(cls), fields.items(), strict=True)
    return "".join(
        f"| `{env}` | {_default(field.default)} | {docs[name]} |\n" for env, (name, field) in names
    )


def _default(value: object) -> str:
    """A default as written in the environment."""
    if value is PydanticUndefined:
        return "required"
    if value == "":
        return "empty"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def _field_docs(cls: type[Any]) -> dict[str, str]:
    """The docstring of each field, in one line."""
    (body,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for field, following in zip(body.body, body.body[1:], strict=False):
        match field, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = " ".join(text.replace("``", "`").split())
    return docs


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __file__))
