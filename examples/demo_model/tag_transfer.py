"""Measures whether tags within titles come back around what corresponds, with a service of the demo release.

    yiwen serve --release var/demo-release
    python examples/demo_model/tag_transfer.py [--url http://127.0.0.1:8080] [--titles 500] [--errors 20]

One or two phrases of each drawn title, whose translations the grammar knows, are tagged. A tag is right if the answer
has the phrase's translation between its ends, and nothing else. Beside it stand the tags that are placed by their
position alone. What this does not do: judge the titles' translations.
"""

from __future__ import annotations

import argparse
import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import grammar

from transformer.texts.inline_tags import InlineSpan, SpanKind
from transformer.texts.tag_placement import place_tags

SEED = 16
BATCH = 50
TAGS = re.compile(r"</?(?:b|i)\b[^>]*>")


@dataclass(frozen=True)
class TaggedTitle:
    """A title with tags, and what they must enclose in its translation."""

    text: str
    spans: tuple[tuple[int, int], ...]
    wanted: tuple[str, ...]

    @property
    def html(self) -> str:
        """The title as HTML, with each phrase between the tags of an element of its own."""
        parts, at = [], 0
        for number, (start, end) in enumerate(self.spans):
            name = "bi"[number]
            parts += [self.text[at:start], f'<{name} id="{number}">', self.text[start:end], f"</{name}>"]
            at = end
        return "".join([*parts, self.text[at:]])


def phrases() -> dict[str, tuple[str, ...]]:
    """The English phrases of the grammar with their Chinese forms."""
    found: dict[str, set[str]] = {}
    words = (grammar.COLOURS, grammar.AUDIENCES, grammar.MODIFIERS, grammar.FEATURES, grammar.USES)
    for english, chinese in (entry for each in words for entry in each.items()):
        found.setdefault(english, set()).add(chinese)
    for head in (head for shelf in grammar.SHELVES for head in shelf.heads):
        found.setdefault(head.english, set()).add(head.chinese)
        found.setdefault(head.plural, set()).add(head.chinese)
    return {english: tuple(sorted(forms)) for english, forms in found.items()}


def places_of(phrase: str, text: str) -> list[int]:
    """Where ``phrase`` stands in ``text``, as whole words if it has letters that words are made of."""
    edge = r"(?<![A-Za-z])", r"(?![A-Za-z])"
    pattern = "".join([edge[0], re.escape(phrase), edge[1]]) if phrase.isascii() else re.escape(phrase)
    return [found.start() for found in re.finditer(pattern, text)]


def tagged_titles(source: str, count: int) -> Iterator[TaggedTitle]:
    """Titles of the grammar in one language, with tags around phrases that occur once on both sides."""
    rng, known = Random(SEED), phrases()
    while count:
        english, chinese = grammar.draw_pair(rng)
        found = sorted(
            (each, form)
            for each, forms in known.items()
            for form in forms
            if each in english and form in chinese and each != english
            if len(places_of(each, english)) == len(places_of(form, chinese)) == 1
        )
        # A phrase within a longer one is not a phrase of this title.
        found = [pair for pair in found if not any(pair != other and pair[0] in other[0] for other in found)]
        if not found:
            continue
        chosen = rng.sample(found, min(len(found), rng.choice((1, 1, 2))))
        text, column = (english, 0) if source == "en" else (chinese, 1)
        places = sorted((places_of(pair[column], text)[0], pair) for pair in chosen)
        spans = tuple((at, at + len(pair[column])) for at, pair in places)
        if all(first[1] <= second[0] for first, second in pairwise(spans)):
            count -= 1
            yield TaggedTitle(text, spans, tuple(pair[1 - column] for _, pair in places))


def translate(url: str, texts: list[str], source: str, target: str) -> tuple[list[str], list[str]]:
    """The service's translations of HTML, and their flags."""
    document = {
        "parameters": {"source": source, "target": target, "format": "html", "deadline_ms": 60_000},
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}],
        "outputs": [{"name": "translation"}, {"name": "flags"}],
    }
    with urllib.request.urlopen(f"{url}/v2/models") as answer:
        (model,) = json.load(answer)["models"]
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v2/models/{model}/infer", json.dumps(document).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        outputs = {each["name"]: each["data"] for each in json.load(answer)["outputs"]}
    return outputs["translation"], outputs["flags"]


def enclosed(answer: str) -> list[str]:
    """What the answer's elements enclose, in the order of their numbers."""
    found = re.findall(r'<(b|i) id="(\d)">(.*?)</\1>', answer)
    return [TAGS.sub("", text) for _, _, text in sorted(found, key=lambda each: each[1])]


def by_position(title: TaggedTitle, answer: str) -> str:
    """``answer`` with the title's tags where they stood in it."""
    spans = [
        InlineSpan(SpanKind.ELEMENT, start, end, 2 * number, 2 * number + 1)
        for number, (start, end) in enumerate(title.spans)
    ]
    tags = TAGS.findall(title.html)
    # Without the tagged text itself none is found by it.
    text = "".join(
        "\0" if any(start <= at < end for start, end in title.spans) else each
        for at, each in enumerate(title.text)
    )
    parts = place_tags(text, spans, answer, {}).parts
    return "".join(part if isinstance(part, str) else tags[part] for part in parts)


def measure(url: str, source: str, target: str, count: int, errors: int) -> Counter[str]:
    """Counts of one direction; prints up to ``errors`` tags that are wrong."""
    counts: Counter[str] = Counter()
    titles = list(tagged_titles(source, count))
    for start in range(0, count, BATCH):
        batch = titles[start : start + BATCH]
        answers, flags = translate(url, [title.html for title in batch], source, target)
        for title, answer, flag in zip(batch, answers, flags, strict=True):
            counts["lost"] += sorted(TAGS.findall(answer)) != sorted(TAGS.findall(title.html))
            guessed = enclosed(by_position(title, TAGS.sub("", answer)))
            counts["flagged"] += "markup" in flag
            for wanted, inner, guess in zip(title.wanted, enclosed(answer), guessed, strict=True):
                counts["tags"] += 1
                counts["right"] += inner.lower() == wanted.lower()
                counts["right by position"] += guess.lower() == wanted.lower()
                if inner.lower() != wanted.lower() and errors:
                    errors -= 1
                    print(f"  {title.html}\n    {answer} {flag}\n    not around {wanted}")
    return counts


def main() -> None:
    """Print a line for each direction."""
    parser = argparse.ArgumentParser(description="Tags that come back around what corresponds.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--titles", type=int, default=500, help="of each direction")
    parser.add_argument(
        "--errors", type=int, default=0, help="print up to this many wrong tags per direction"
    )
    arguments = parser.parse_args()
    for source, target in (("en", "zh"), ("zh", "en")):
        counts = measure(arguments.url, source, target, arguments.titles, arguments.errors)
        tags = counts["tags"]
        print(
            f"{source}-{target}: {arguments.titles} titles, {tags} elements: {counts['right'] / tags:.1%} right, "
            f"{counts['right by position'] / tags:.1%} by position alone; titles with lost or invented tags "
            f"{counts['lost']}, flagged {counts['flagged']}"
        )


if __name__ == "__main__":
    main()
