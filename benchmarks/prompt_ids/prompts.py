"""Published prompts as whole strings, written from recipes without the code that serves them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from predictor.builder.release.recipes import Recipe
from protocol.messages import Formality
from protocol.prompt_encoder import PromptText

CONTEXT = "The customer asks about a parcel."
TERMS = (("parcel", "colis"), ("No. 12", "n° 12"))
_SECTION = re.compile(r"\{([#^])(\w+)\}(.*?)\{/\2\}", re.DOTALL)
_MARK = re.compile(r"\{(\w+(?::\w+)?)\}")
_CONTROL = re.compile(
    r"<\|[^|<>]+\|>|<｜[^｜<>]+｜>|</?s>|<[be]os>|<(?:start|end)_of_turn>|</?think>|\[/?INST\]"
)


@dataclass(frozen=True, slots=True)
class PromptForm:
    """A template of a recipe, for one pair of languages and one choice of optional sections."""

    template: str
    languages: Mapping[str, Any]
    asked: PromptText
    """With an empty text."""

    def text(self, text: str, index: int = 0) -> PromptText:
        """What is asked of the encoder."""
        return replace(self.asked, text=text, index=index)

    def whole(self, text: str) -> str:
        """The prompt as one string."""
        asked = self.asked
        flags = {
            "context": bool(asked.context),
            "terms": bool(asked.terms),
            "formal": asked.formality.section == "formal",
            "informal": asked.formality.section == "informal",
            "formality": asked.formality.section is not None,
            "tags": False,
        }
        values = {"text": text, "context": asked.context, **self._names("source"), **self._names("target")}
        return _filled(self._chosen(self.template, flags), values)

    def _chosen(self, template: str, flags: Mapping[str, bool]) -> str:
        """The template without the sections that are not there."""

        def choose(section: re.Match[str]) -> str:
            kind, name, inner = section.groups()
            if name == "term":
                pairs = ({"term": term, "translation": translation} for term, translation in self.asked.terms)
                return "".join(_filled(inner, pair) for pair in pairs)
            return self._chosen(inner, flags) if flags[name] == (kind == "#") else ""

        return _SECTION.sub(choose, template)

    def _names(self, side: str) -> dict[str, str]:
        tag = self.asked.source if side == "source" else self.asked.target
        language = self.languages[tag]
        names = {f"{side}_name:{other}": name for other, name in language["names"].items()}
        usual = {side: language["prompt"], f"{side}_name": language["name"], f"{side}_code": tag}
        return {**usual, **names}


def prompt_forms(recipe: Recipe) -> Iterator[PromptForm]:
    """Every template of a recipe, alone and with each optional section that it has."""
    document = recipe.translation()
    for template, (source, target) in _templates(document):
        contexts = ("", CONTEXT) if "{#context}" in template else ("",)
        terms = ((), TERMS) if "{#terms}" in template else ((),)
        manners = (Formality.DEFAULT, Formality.MORE) if "formal}" in template else (Formality.DEFAULT,)
        for context, some, formality in product(contexts, terms, manners):
            asked = PromptText("", source, target, 0, context, formality, some)
            yield PromptForm(template, document["languages"], asked)


def plain_form(recipe: Recipe, source: str, target: str) -> PromptForm:
    """The form for a pair of languages without optional sections."""
    document = recipe.translation()
    return PromptForm(
        _template_of(document, source, target), document["languages"], PromptText("", source, target)
    )


def _templates(document: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each template with the first pair that it is used for."""
    seen = set()
    for source, target in document["pairs"]:
        template = _template_of(document, source, target)
        if template not in seen:
            seen.add(template)
            yield template, (source, target)


def _template_of(document: Mapping[str, Any], source: str, target: str) -> str:
    for each in document["templates"]:
        if source in (each.get("sources") or [source]) and target in (each.get("targets") or [target]):
            return str(each["template"])
    return str(document["template"])


def control_tokens(recipe: Recipe) -> list[str]:
    """Control tokens of a recipe's templates, and its stop tokens."""
    templates = [recipe.template, *(str(each["template"]) for each in recipe.templates)]
    found = [token for template in templates for token in _CONTROL.findall(template)]
    return list(dict.fromkeys([*found, *recipe.stop_tokens]))


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _MARK.sub(lambda mark: values.get(mark[1], mark[0]), template)
