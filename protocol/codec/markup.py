"""The request parameters that say what of HTML and XML is translated.

Lists of tags are strings, separated by commas, as in DeepL's API.
"""

from __future__ import annotations

from protocol.codec.parameters import Parameters
from protocol.errors import InvalidRequest
from protocol.messages import DEFAULT_MARKUP, MarkupOptions, TextFormat
from protocol.tensors import MARKUP_PARAMETERS

MAX_TAGS = 256
"""Tags of one list."""


def markup_options_of(parameters: Parameters, text_format: TextFormat) -> MarkupOptions:
    """The options of a request.

    Raises:
        InvalidRequest: a parameter is wrong, or the texts have no markup.
    """
    given = [name for name in MARKUP_PARAMETERS if parameters.values.get(name) is not None]
    if not given:
        return DEFAULT_MARKUP
    if text_format not in (TextFormat.HTML, TextFormat.XML):
        raise InvalidRequest(f"parameter {given[0]} needs the parameter format, html or xml")
    is_html = text_format is TextFormat.HTML
    return MarkupOptions(
        ignore_tags=_tags(parameters, "ignore_tags", is_html),
        splitting_tags=_tags(parameters, "splitting_tags", is_html),
        non_splitting_tags=_tags(parameters, "non_splitting_tags", is_html),
        outline_detection=parameters.flag("outline_detection", default=True),
        translate_attributes=parameters.flag("translate_attributes", default=False),
        translate_cdata=parameters.flag("translate_cdata", default=False),
    )


def markup_parameters(options: MarkupOptions) -> dict[str, str | bool | None]:
    """The parameters of options; None for those that have their defaults."""
    found: dict[str, str | bool | None] = {}
    for name in MARKUP_PARAMETERS:
        value = getattr(options, name)
        if value == getattr(DEFAULT_MARKUP, name):
            found[name] = None
        else:
            found[name] = value if isinstance(value, bool) else ",".join(sorted(value))
    return found


def _tags(parameters: Parameters, name: str, is_html: bool) -> frozenset[str]:
    text = parameters.text(name) or ""
    tags = [tag.strip() for tag in text.split(",")]
    found = frozenset(tag.lower() if is_html else tag for tag in tags if tag)
    if len(found) > MAX_TAGS:
        raise InvalidRequest(f"parameter {name} has {len(found)} tags, at most {MAX_TAGS} are taken")
    return found
