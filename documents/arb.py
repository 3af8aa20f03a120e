"""Application Resource Bundle (Flutter): JSON whose keys with ``@`` hold metadata; ``@@locale`` is set."""

from __future__ import annotations

import json

from documents.interface import DocumentLanguages
from documents.json_strings import JsonFile, json_strings, read_json
from documents.splices import TextSplice

_LOCALE = ("@@locale",)


def parse(data: bytes, languages: DocumentLanguages) -> JsonFile:
    """Read a bundle.

    Raises:
        FileFormatError: it is not JSON.
    """
    text, encoding = read_json(data)
    strings = list(json_strings(text))
    locale = json.dumps(languages.target.replace("-", "_"))
    fixed = [TextSplice(each.start, each.end, locale) for each in strings if each.path == _LOCALE]
    messages = [each for each in strings if each.path and not each.path[0].startswith("@")]
    descriptions: dict[tuple[str, ...], str] = {
        (each.path[0].removeprefix("@"),): each.text
        for each in strings
        if each.path[1:] == ("description",) and each.path[0].startswith("@")
    }
    return JsonFile(text, messages, encoding, fixed, descriptions)
