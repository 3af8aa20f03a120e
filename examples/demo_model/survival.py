"""Measures whether what must survive does, and whether what did not is flagged, with a service of the demo release.

    yiwen serve --release var/demo-release
    python examples/demo_model/survival.py [--url http://127.0.0.1:8080] [--texts 2000] [--errors 20]

Placeholders, numbers and emoji are put into titles of heldout.tsv. An answer has kept one if a plain search, which
knows nothing of the guards, finds it as often as in the text. Each pair of title and reference is also corrupted on
purpose, in the ways that models do it: every corruption must be flagged, and no reference. What this does not do:
judge the titles' translations.
"""

from __future__ import annotations

import argparse
import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from transformer.texts.preservation import changed_kinds

HERE = Path(__file__).resolve().parent
SEED = 16
BATCH = 100
KEPT = (
    "{name}", "{{ order.id }}", "${price}", "%{count}", "#{n}", "{0:>10}", "{n, number}", "%1$s", "%-5.2f", "%(n)d",
    "$t(cart.item)", ":count", "@shop_user", "<0>", "[[x]]", "__total__", r"\n", "&nbsp;", "v2.3.1", "SKU-48213",
    "sku-48213", "user_name", "README.md", "https://shop.example.com/a?b=1", "ask@shop.example.com",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479", "😆", "👩‍💻", "🇩🇪",
)  # fmt: skip
NUMBERS = ("1,299.99", "2024-05-01", "14:30", "751324626113", "+86 138-0013-8000", "12.5", "4830", "37%")
WAYS = ("lost", "doubled", "cut", "foreign", "digit")


@dataclass(frozen=True)
class SurvivalText:
    """A title with something in it that must survive."""

    text: str
    reference: str
    """Its translation, with the same in it."""
    source: str
    target: str
    kept: str


def drawn_texts(count: int) -> list[SurvivalText]:
    """Titles of heldout.tsv in both directions, each with a drawn token in front, behind or between words."""
    rng = Random(SEED)
    rows = [
        line.split("\t")[:2] for line in (HERE / "heldout.tsv").read_text(encoding="utf-8").splitlines()[1:]
    ]
    texts = []
    for number in range(count):
        row = rows[number % len(rows)]
        source, target = (0, 1) if number % 2 else (1, 0)
        kept = rng.choice(KEPT + NUMBERS)
        form = rng.choice(("{} " + kept, kept + " {}", "{}, " + kept))
        text, reference = (form.replace("{}", row[side]) for side in (source, target))
        texts.append(SurvivalText(text, reference, ("en", "zh")[source], ("en", "zh")[target], kept))
    return texts


def corruptions(text: SurvivalText) -> Iterator[tuple[str, str]]:
    """What goes wrong, and the corrupted reference."""
    kept, reference = text.kept, text.reference
    yield "lost", reference.replace(kept, "")
    yield "doubled", reference.replace(kept, f"{kept} {kept}")
    yield "cut", reference.replace(kept, kept[:-1] if len(kept) > 1 else "")
    yield "foreign", f"{reference} {{other}}"
    digits = [place for place, character in enumerate(reference) if character.isdigit()]
    if digits:
        place = digits[len(text.text) % len(digits)]
        yield "digit", f"{reference[:place]}{(int(reference[place]) + 3) % 10}{reference[place + 1 :]}"


def is_kept(text: SurvivalText, answer: str) -> bool:
    """Whether a plain search finds the token in ``answer`` as often as in the text."""
    forms = [text.kept, text.kept.replace(",", "")] if text.kept in NUMBERS else [text.kept]
    token = rf"(?<!\d)(?:{'|'.join(map(re.escape, forms))})(?!\d)"
    return len(re.findall(token, answer)) == len(re.findall(token, text.text))


def translate(url: str, texts: list[SurvivalText]) -> Iterator[tuple[SurvivalText, str, str]]:
    """Each text with its answer and its flags."""
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        inputs = [
            {
                "name": name,
                "datatype": "BYTES",
                "shape": [len(batch)],
                "data": [getattr(text, name) for text in batch],
            }
            for name in ("text", "source", "target")
        ]
        body = json.dumps(
            {"inputs": inputs, "outputs": [{"name": "translation"}, {"name": "flags"}]}
        ).encode()
        request = urllib.request.Request(
            f"{url}/v2/models/demo/infer", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            outputs = {each["name"]: each["data"] for each in json.load(response)["outputs"]}
        yield from zip(batch, outputs["translation"], outputs["flags"], strict=True)


def measure_references(texts: list[SurvivalText]) -> list[str]:
    """Print how many references are flagged, and how many corrupted ones; returns those that are wrong."""
    errors: list[str] = []
    made, caught, alarms = Counter[str](), Counter[str](), 0
    for text in texts:
        languages = (text.source, text.target)
        if changed_kinds(text.text, text.reference, (), languages):
            alarms += 1
            errors.insert(0, f"false alarm: {text.text!r} -> {text.reference!r}")
        for way, answer in corruptions(text):
            made[way] += 1
            if changed_kinds(text.text, answer, (), languages):
                caught[way] += 1
            else:
                errors.append(f"not caught, {way}: {text.text!r} -> {answer!r}")
    print(f"references flagged: {alarms} of {len(texts)}")
    for way in WAYS:
        print(f"corrupted, {way}: {caught[way]} of {made[way]} caught")
    return errors


def measure_answers(url: str, texts: list[SurvivalText]) -> list[str]:
    """Print how many answers kept what they had to; returns those that did not and have no flag."""
    errors: list[str] = []
    counts = Counter[str]()
    for text, answer, flags in translate(url, texts):
        kept = is_kept(text, answer)
        counts[f"{'kept' if kept else 'not kept'}, {'flagged' if flags else 'not flagged'}"] += 1
        if not kept and not flags:
            errors.append(f"not found, not flagged: {text.text!r} -> {answer!r}")
    for name, count in sorted(counts.items()):
        print(f"answers {name}: {count}")
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="of the service; without it only the references are corrupted")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--errors", type=int, default=20, help="print at most this many")
    options = parser.parse_args()
    texts = drawn_texts(options.texts)
    errors = measure_references(texts) + (measure_answers(options.url, texts) if options.url else [])
    for error in errors[: options.errors]:
        print(error)


if __name__ == "__main__":
    main()
