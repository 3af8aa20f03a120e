"""Recipes of published models: ``recipes/NAME.json``, and the ``translation.json`` that one becomes.

A recipe has the fields of ``translation.json``, but lists tags of languages; their names and scripts are in
``recipes/languages.json``, for all recipes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import permutations
from typing import Any

from predictor.builder.errors import BrokenText
from protocol.release_documents import STRICT
from protocol.suggestions import did_you_mean
from protocol.translation_spec import translation_schema_of

_PACKAGE = "recipes"
_LANGUAGES = "languages"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One document of ``recipes/``."""

    __pydantic_config__ = STRICT

    schema: int
    models: tuple[str, ...]
    """Names on the hub."""
    license: str
    languages: tuple[str, ...]
    """Tags."""
    template: str
    stop_tokens: tuple[str, ...]
    limits: Mapping[str, Any]
    sentences: str
    templates: tuple[Mapping[str, Any], ...] = ()
    hubs: tuple[str, ...] = ()
    """Tags of which every pair has one; empty: any."""
    names: Mapping[str, str] = field(default_factory=dict)
    """English names of languages that are not those of the table, by tag."""
    notes: str = ""
    sampling: Mapping[str, Any] | None = None
    tags: Mapping[str, Any] | None = None

    def translation(self) -> dict[str, Any]:
        """The ``translation.json`` of the recipe."""
        pairs = [
            pair
            for pair in permutations(self.languages, 2)
            if not self.hubs or not set(self.hubs).isdisjoint(pair)
        ]
        document = {
            "template": self.template,
            "templates": [dict(each) for each in self.templates],
            **({} if self.sampling is None else {"sampling": dict(self.sampling)}),
            **({} if self.tags is None else {"tags": dict(self.tags)}),
            "languages": described_languages(self.languages, self.names),
            "pairs": pairs,
            "stop_tokens": list(self.stop_tokens),
            "sentences": self.sentences,
            "limits": dict(self.limits),
        }
        return {"schema": translation_schema_of(document), **document}


def recipe_names() -> list[str]:
    """Names of all recipes."""
    names = (entry.name.removesuffix(".json") for entry in files(_PACKAGE).iterdir())
    return sorted(
        name for name in names if name != _LANGUAGES and (files(_PACKAGE) / f"{name}.json").is_file()
    )


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Raises:
        BrokenText: there is none of that name.
    """
    from protocol.validation import validate

    if name not in recipe_names():
        known = ", ".join(recipe_names())
        raise BrokenText(f"there is no recipe {name}{did_you_mean(name, recipe_names())}; known are {known}")
    return validate(Recipe, _document(name), place=f"{name}.json", error=BrokenText)


def described_languages(tags: Sequence[str], names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """``languages`` of a ``translation.json``.

    Args:
        tags: of the languages.
        names: English names that are not those of the table, by tag.

    Raises:
        BrokenText: the table does not have a tag.
    """
    table = _document(_LANGUAGES)
    unknown = next((tag for tag in tags if tag not in table), None)
    if unknown is not None:
        raise BrokenText(
            f"language {unknown} is not in the table of names{did_you_mean(unknown, table)}; known are "
            f"{', '.join(table)}: add others to translation.json by hand"
        )
    described = {}
    for tag in tags:
        name = (names or {}).get(tag, table[tag]["name"])
        described[tag] = {
            "name": name,
            "prompt": name,
            "script": table[tag]["script"],
            "names": {"zh": table[tag]["zh"]},
        }
    return described


def _document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((files(_PACKAGE) / f"{name}.json").read_text(encoding="utf-8"))
    return document
