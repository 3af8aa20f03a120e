"""Makes aligned English and Chinese shop titles, the training and test material of the demo model.

A title is drawn slot by slot from vocabulary.py and written out once per language. The word orders differ
("Men's Waterproof Running Shoes, Size 42, Black" is "黑色男士防水跑鞋 42码"), and each title has exactly one
translation in each direction, so that an exact match means something. Everything is a function of the
random.Random that is passed in.

The split into training and held-out titles is a property of the texts, not of the order in which they are
drawn: ``split_of`` hashes both sides of a pair, and a title of the held-out set cannot be emitted for training
in either language. What this module does not do: describe shopping language in general. Titles outside this
grammar are outside the demo model's world.

Run as a file it writes heldout.tsv beside itself.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import support
import vocabulary

Pair = tuple[str, str]

HELD_OUT_ROWS = 500
HELD_OUT_SEED = 20_240
# A pair is held out when both hashes fall into this share's bucket, and is trained on when neither does.
HASH_BUCKETS = 10
SUPPORT_SHARE = 0.1


def table(text: str) -> dict[str, str]:
    """Reads ``english|chinese`` entries separated by semicolons or line ends."""
    entries = [entry.strip() for entry in re.split(r"[;\n]", text) if entry.strip()]
    pairs = (entry.split("|") for entry in entries)
    return {pair[0]: pair[1] for pair in pairs}


COLOURS = table(vocabulary.COLOURS)
AUDIENCES = table(vocabulary.AUDIENCES)
MODIFIERS = table(vocabulary.MODIFIERS)
FEATURES = table(vocabulary.FEATURES)
USES = table(vocabulary.USES)
PARTS = table(vocabulary.PARTS)
TAGS = table(vocabulary.TAGS)

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
# Chinese shops name what is left to pay: 20% off is 8折 (eight tenths).
DISCOUNTS = {5: "95", 10: "9", 15: "85", 20: "8", 25: "75", 30: "7", 40: "6", 50: "5", 60: "4", 70: "3"}
_IRREGULAR_PLURALS = {
    "Knife": "Knives",
    "Shelf": "Shelves",
    "Mouse": "Mice",
    "Scarf": "Scarves",
    "Dress": "Dresses",
}


def plural(english: str) -> str:
    """The plural of a title-case noun phrase, by its last word ("Soup Bowl" to "Soup Bowls")."""
    start, _, last = english.rpartition(" ")
    if last in _IRREGULAR_PLURALS:
        last = _IRREGULAR_PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{start} {last}".strip()


@dataclass(frozen=True)
class Head:
    """A product: its names, its plural (the same for nouns that have none) and its own measurements."""

    english: str
    chinese: str
    plural: str
    specs: tuple[str, ...]


@dataclass(frozen=True)
class Shelf:
    """A category with its lists read: each list holds (english, chinese) entries."""

    source: vocabulary.Category
    heads: tuple[Head, ...]
    groups: tuple[tuple[float, tuple[Pair, ...]], ...]
    features: tuple[Pair, ...]
    uses: tuple[Pair, ...]
    audiences: tuple[Pair, ...]
    specs: tuple[str, ...]
    counts: tuple[str, ...]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _entries(text: str, words: dict[str, str]) -> tuple[Pair, ...]:
    return tuple((name, words[name]) for name in _names(text))


def _head(entry: str) -> Head:
    english, chinese, *rest = entry.split("|")
    flag, _, specs = (rest[0] if rest else "").partition("@")
    return Head(english, chinese, english if flag else plural(english), tuple(_names(specs)))


def _shelf(category: vocabulary.Category) -> Shelf:
    heads = tuple(_head(entry.strip()) for entry in re.split(r"[;\n]", category.heads) if entry.strip())
    return Shelf(
        category,
        heads,
        tuple((chance, _entries(names, MODIFIERS)) for chance, names in category.groups),
        _entries(category.features, FEATURES),
        _entries(category.uses, USES),
        _entries(category.audiences, AUDIENCES),
        tuple(_names(category.specs)),
        tuple(_names(category.counts)),
    )


SHELVES = tuple(_shelf(category) for category in vocabulary.CATEGORIES)
_BY_NAME = {shelf.source.name: shelf for shelf in SHELVES}
_SHELF_WEIGHTS = [len(shelf.heads) for shelf in SHELVES]
_COLOURS = tuple(COLOURS.items())
_OPAQUE_COLOURS = tuple(entry for entry in _COLOURS if entry[0] != "Transparent")
_TAGS = tuple(TAGS.items())
_PARTS = tuple(PARTS.items())
_PROPER_NAMES = ("A-Line", "Chelsea", "Christmas", "Hawaiian", "Henley", "Mary", "Oxford", "Yo-Yo")
# Every third product, in lower case, is what customers write about; all of them would only need more vocabulary.
_CHAT_PRODUCTS = tuple(
    (
        " ".join(w if sum(c.isupper() for c in w) > 1 else w.lower() for w in head.english.split()),
        head.chinese,
    )
    for shelf in SHELVES
    if shelf.source.chat
    for head in shelf.heads[::3]
    if not any(name in head.english for name in _PROPER_NAMES)
)


def _decimal(rng: Random, low: int, high: int) -> str:
    """A number with one decimal place more often than not, such as 1.5, or without (2)."""
    whole = rng.randint(low, high)
    return f"{whole}.{rng.randint(1, 9)}" if rng.random() < 0.6 else str(whole)


def _amount(low: int, high: int, step: int) -> Callable[[Random], str]:
    """Draws round numbers mostly and any number sometimes, so that the model learns to copy digits."""

    def draw(rng: Random) -> str:
        if rng.random() < 0.3:
            return str(rng.randint(low, high))
        return str(rng.randint(max(low // step, 1), high // step) * step)

    return draw


def _area(rng: Random) -> str:
    return "x".join(
        str(rng.randint(2, 48) * 5 if rng.random() < 0.6 else rng.randint(10, 260)) for _ in range(2)
    )


def _ages(rng: Random) -> str:
    low = rng.randint(1, 12)
    return f"{low}+" if rng.random() < 0.5 else f"{low}-{low + rng.randint(1, 6)}"


def _months(rng: Random) -> str:
    low = rng.choice((0, 3, 6, 9, 12, 18))
    return f"{low}+" if rng.random() < 0.5 else f"{low}-{low + rng.choice((3, 6, 12))}"


_LETTERS = ("XS", "S", "M", "L", "XL", "XXL", "3XL", "4XL")

# Name of a measurement: how to draw the number, and how each language writes it.
SPECS: dict[str, tuple[Callable[[Random], str], str, str]] = {
    "letter": (lambda rng: rng.choice(_LETTERS), "Size {}", "{}码"),
    "shoe": (lambda rng: f"{rng.randint(22, 48)}{'.5' if rng.random() < 0.15 else ''}", "Size {}", "{}码"),
    "waist": (lambda rng: str(rng.randint(24, 46)), "Waist {}", "腰围{}"),
    "ml": (_amount(5, 1200, 10), "{}ml", "{}毫升"),
    "litre": (lambda rng: _decimal(rng, 1, 80 if rng.random() < 0.3 else 8), "{}L", "{}升"),
    "g": (_amount(5, 950, 10), "{}g", "{}克"),
    "kg": (lambda rng: _decimal(rng, 1, 50 if rng.random() < 0.3 else 9), "{}kg", "{}公斤"),
    "mm": (_amount(2, 200, 2), "{}mm", "{}毫米"),
    "cm": (_amount(8, 220, 2), "{}cm", "{}厘米"),
    "cm2": (_area, "{}cm", "{}厘米"),
    "m": (lambda rng: _decimal(rng, 1, 50 if rng.random() < 0.3 else 9), "{}m", "{}米"),
    "inch": (lambda rng: _decimal(rng, 4, 85 if rng.random() < 0.4 else 17), "{} Inch", "{}英寸"),
    "watt": (_amount(3, 2400, 5), "{}W", "{}瓦"),
    "volt": (lambda rng: str(rng.choice((3, 4, 5, 12, 16, 18, 20, 24, 36, 40, 48))), "{}V", "{}伏"),
    "mah": (_amount(1000, 50000, 500), "{}mAh", "{}毫安时"),
    "gb": (lambda rng: str(2 ** rng.randint(2, 10)), "{}GB", "{}GB"),
    "tb": (lambda rng: str(rng.choice((1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20))), "{}TB", "{}TB"),
    "hz": (lambda rng: str(rng.choice((60, 75, 90, 100, 120, 144, 165, 180, 240, 360))), "{}Hz", "{}Hz"),
    "dpi": (_amount(800, 26000, 400), "{} DPI", "{} DPI"),
    "lumen": (_amount(50, 6000, 50), "{} Lumens", "{}流明"),
    "sheets": (_amount(20, 600, 10), "{} Sheets", "{}张"),
    "rolls": (lambda rng: str(rng.randint(2, 48)), "{} Rolls", "{}卷"),
    "pieces": (_amount(5, 240, 5), "{} Pieces", "{}片"),
    "count": (_amount(20, 2000, 10), "{} Count", "{}个"),
    "colors": (lambda rng: str(rng.randint(4, 120)), "{} Colors", "{}色"),
    "persons": (lambda rng: str(rng.randint(1, 12)), "{}-Person", "{}人款"),
    "tablets": (_amount(20, 400, 10), "{} Tablets", "{}片装"),
    "capsules": (_amount(20, 400, 10), "{} Capsules", "{}粒"),
    "ages": (_ages, "Ages {}", "{}岁"),
    "months": (_months, "{} Months", "{}个月"),
}

# Ways of counting: both languages' words around the number. "setof" is written in front in English.
COUNTS: dict[str, Pair] = {
    "pack": ("{}-Pack", "{}件装"),
    "pairs": ("{} Pairs", "{}双装"),
    "setof": ("Set of {}", "{}件套"),
    "boxof": ("Box of {}", "{}支/盒"),
    "bags": ("{} Bags", "{}袋装"),
    "boxes": ("{} Boxes", "{}盒装"),
}


def _spec(name: str, rng: Random) -> Pair:
    draw, english, chinese = SPECS[name]
    number = draw(rng)
    chinese_number = number.replace("x", "×") if name == "cm2" else number
    translated = chinese.format(chinese_number)
    if number.endswith("+"):  # "Ages 3+" is "3岁以上"
        translated = chinese.format(number[:-1]) + "以上"
    return english.format(number), translated


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in re.findall(r"[A-Za-z][A-Za-z'-]*", text))


# Every English word that has a meaning in a title; what is not here is a name and is copied.
TITLE_WORDS = _words(
    [
        *(word for words in (COLOURS, AUDIENCES, MODIFIERS, FEATURES, USES, PARTS, TAGS) for word in words),
        *(name for shelf in SHELVES for head in shelf.heads for name in (head.english, head.plural)),
        *(english for english, _ in COUNTS.values()),
        "Size Waist Inch Lumens Sheets Rolls Pieces Count Colors Person Tablets Capsules Ages Months",
        "Replacement Compatible Gift Set Buy Get Free Off and for with in of",
    ]
)


def _free_name(rng: Random) -> str:
    """A name of any look: "Shaicko", "iTrend", "VUQ", "LoomTech"."""
    if rng.random() < 0.15:
        return "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(2, 5)))
    parts = (vocabulary.ONSETS, vocabulary.VOWELS, vocabulary.CODAS)
    name = "".join(
        rng.choice(part) for _ in range(rng.choice((1, 2, 2, 2, 3))) for part in parts
    ).capitalize()
    look = rng.random()
    if look < 0.12:
        return rng.choice("aeikmxz") + name
    if look < 0.27:
        return name + rng.choice(vocabulary.NAME_TAILS)
    if look < 0.35:
        return f"{name} {rng.choice(vocabulary.SYLLABLES).capitalize()}{rng.choice(vocabulary.SYLLABLES)}"
    return name.upper() if look < 0.42 else name


def _brand(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(vocabulary.BRANDS)
    if kind < 0.6:
        name = "".join(
            rng.choice(vocabulary.SYLLABLES) for _ in range(rng.choice((2, 2, 3, 3, 4)))
        ).capitalize()
    else:
        name = _free_name(rng)
    return name if TITLE_WORDS.isdisjoint(name.split()) else rng.choice(vocabulary.BRANDS)


def _code(rng: Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 4)))
    tail = rng.choice("ABCDEFGHKLMNPRSTX") if rng.random() < 0.2 else ""
    return f"{letters}{'-' if rng.random() < 0.7 else ''}{digits}{tail}"


def _device(rng: Random) -> str:
    letter = rng.choice(("", "", "", "X", "S", "A", "Z", "Tab ", "Note ", "Book ", "Watch "))
    suffix = rng.choice(vocabulary.DEVICE_SUFFIXES)
    return f"{_brand(rng)} {letter}{rng.randint(2, 99)} {suffix}".strip()


def _tag(rng: Random) -> Pair:
    kind = rng.random()
    if kind < 0.25:
        discount = rng.choice(tuple(DISCOUNTS))
        return f"{discount}% Off", f"{DISCOUNTS[discount]}折"
    if kind < 0.4:
        bought, free = rng.randint(1, 9), rng.randint(1, 3)
        return f"Buy {bought} Get {free} Free", f"买{bought}送{free}"
    return rng.choice(_TAGS)


def _modifiers(shelf: Shelf, rng: Random, factor: float = 1.0) -> Pair:
    """Draws at most one word of each group; returns both languages' runs ("Soft Cotton ", "柔软纯棉")."""
    chosen = [rng.choice(words) for chance, words in shelf.groups if rng.random() < chance * factor]
    return "".join(f"{english} " for english, _ in chosen), "".join(chinese for _, chinese in chosen)


def _specs(shelf: Shelf, head: Head, rng: Random) -> list[Pair]:
    chosen = [rng.choice(names) for names in (head.specs, shelf.specs) if names and rng.random() < 0.55]
    return [_spec(name, rng) for name in chosen]


def _pick_shelf(rng: Random) -> Shelf:
    return rng.choices(SHELVES, _SHELF_WEIGHTS)[0]


def _suits(head: Head, use: Pair) -> bool:
    """Keeps dog harnesses from being sold for kittens."""
    for animal, names in (("Dog", ("Dogs", "Puppies")), ("Cat", ("Cats", "Kittens"))):
        if any(name in use[0] for name in names):
            return head.english.startswith((animal, "Pet", "Pee", "Poop"))
    return True


def _shop_title(shelf: Shelf, rng: Random) -> Pair:
    """The common title: brand, colour, audience, modifiers, product, "with" or "for", measurements, count."""
    category, head = shelf.source, rng.choice(shelf.heads)
    brand = f"{_brand(rng)} " if rng.random() < 0.3 else ""
    english_mods, chinese_mods = _modifiers(shelf, rng)
    aud_chance = 0.75 if category.layout == "apparel" else 0.12
    audience = rng.choice(shelf.audiences) if shelf.audiences and rng.random() < aud_chance else None
    opaque = category.layout == "apparel" or category.name == "textiles"
    colour = rng.choice(_OPAQUE_COLOURS if opaque else _COLOURS) if rng.random() < category.colours else None
    kind = rng.random()
    feature = rng.choice(shelf.features) if shelf.features and kind < 0.22 else None
    use = rng.choice(shelf.uses) if shelf.uses and feature is None and kind < 0.44 else None
    if use and not _suits(head, use):
        use = None
    specs = _specs(shelf, head, rng)
    count = rng.choice(shelf.counts) if shelf.counts and rng.random() < 0.25 else None
    number = rng.randint(2, 12) if count == "setof" or rng.random() < 0.7 else rng.randint(2, 100)

    noun = head.plural if count in ("pack", "setof", "boxof") else head.english
    english_aud, chinese_aud = (f"{audience[0]} ", audience[1]) if audience else ("", "")
    english_after, chinese_after = [text for text, _ in specs], [text for _, text in specs]
    prefix = set_of = ""
    if count is not None:
        english_count, chinese_count = (text.format(number) for text in COUNTS[count])
        if count == "setof":
            prefix, set_of = f"{english_count} ", chinese_count
        else:
            english_after.append(english_count)
            chinese_after.append(chinese_count)

    if category.layout == "apparel":
        phrase = f" with {feature[0]}" if feature else ""
        if feature:
            chinese_after.insert(0, f"带{feature[1]}")
        if colour:
            english_after.append(colour[0])
        english = f"{brand}{english_aud}{english_mods}{noun}{phrase}"
        chinese = f"{brand}{colour[1] if colour else ''}{chinese_aud}{chinese_mods}{head.chinese}"
    else:
        model = f" {_code(rng)}" if brand and rng.random() < 0.25 and not set_of else ""
        phrase = f" with {feature[0]}" if feature else f" for {use[0]}" if use else ""
        chinese_phrase = f"带{feature[1]}的" if feature else f"适合{use[1]}的" if use else ""
        english_colour, chinese_colour = (f"{colour[0]} ", colour[1]) if colour else ("", "")
        english = f"{prefix}{brand}{english_aud}{english_colour}{english_mods}{noun}{model}{phrase}"
        chinese = (
            f"{brand}{chinese_phrase}{chinese_colour}{chinese_aud}{chinese_mods}{head.chinese}{set_of}{model}"
        )
    return ", ".join([english, *english_after]), " ".join([chinese, *chinese_after])


def _device_title(rng: Random) -> Pair:
    """An accessory for a named device ("... for Velmora X12 Pro", "适用于 Velmora X12 Pro 的...")."""
    shelf = _BY_NAME["phone"]
    head = rng.choice(shelf.heads)
    english_mods, chinese_mods = _modifiers(shelf, rng)
    english_colour, chinese_colour = rng.choice(_COLOURS) if rng.random() < 0.6 else ("", "")
    device = _device(rng)
    english = f"{english_colour} {english_mods}{head.english} for {device}".strip()
    chinese = f"适用于 {device} 的{chinese_colour}{chinese_mods}{head.chinese}"
    for english_spec, chinese_spec in _specs(shelf, head, rng):
        english, chinese = f"{english}, {english_spec}", f"{chinese} {chinese_spec}"
    return english, chinese


def _compatible_title(rng: Random) -> Pair:
    shelf = _BY_NAME[rng.choice(("computers", "audio_video", "phone"))]
    head = rng.choice(shelf.heads)
    english_mods, chinese_mods = _modifiers(shelf, rng)
    brand = f"{_brand(rng)} " if rng.random() < 0.5 else ""
    device = _device(rng)
    english = f"{brand}{english_mods}{head.english}, Compatible with {device}"
    return english, f"{brand}{chinese_mods}{head.chinese} 兼容 {device}"


def _part_title(rng: Random) -> Pair:
    shelf = _BY_NAME[rng.choice(("appliances", "audio_video", "computers"))]
    head, part = rng.choice(shelf.heads), rng.choice(_PARTS)
    model = _brand(rng) if rng.random() < 0.3 else f"{_brand(rng)} {_code(rng)}"
    english = f"Replacement {part[0]} for {model} {head.english}"
    chinese = f"适用于 {model} {head.chinese}的替换{part[1]}"
    if rng.random() < 0.3:
        number = rng.randint(2, 20)
        return f"{english}, {number}-Pack", f"{chinese} {number}件装"
    return english, chinese


def _catalogue_title(rng: Random) -> Pair:
    """A catalogue line: "Velmora XK-2300: Wireless Mouse in Black", "Velmora XK-2300：无线鼠标（黑色）"."""
    shelf = _pick_shelf(rng)
    head, model = rng.choice(shelf.heads), f"{_brand(rng)} {_code(rng)}"
    english_mods, chinese_mods = _modifiers(shelf, rng)
    english, chinese = f"{model}: {english_mods}{head.english}", f"{model}：{chinese_mods}{head.chinese}"
    if shelf.source.colours:
        colour = rng.choice(_COLOURS)
        return f"{english} in {colour[0]}", f"{chinese}（{colour[1]}）"
    return english, chinese


def _bundle_title(rng: Random) -> Pair:
    shelf = _pick_shelf(rng)
    first, second = rng.sample(shelf.heads, 2)
    english_mods, chinese_mods = _modifiers(shelf, rng, 0.6)
    brand = f"{_brand(rng)} " if rng.random() < 0.3 else ""
    english = f"{brand}{english_mods}{first.english} and {second.english}, Gift Set"
    return english, f"{brand}{chinese_mods}{first.chinese}和{second.chinese}礼盒装"


def _support_sentence(rng: Random) -> Pair:
    if rng.random() < 0.15:
        return rng.choice(support.SENTENCES)
    english, chinese = rng.choice(support.TEMPLATES)
    month, hour, minute = (
        rng.randint(1, 12),
        rng.randint(1, 11),
        rng.choice(("00", "15", "20", "30", "40", "45")),
    )
    afternoon, low = rng.random() < 0.6, rng.randint(2, 60)
    product, colour = rng.choice(_CHAT_PRODUCTS), rng.choice(_COLOURS)
    cents = rng.choice(("", "", ".50", ".90", ".95", ".99", f".{rng.randint(10, 99)}"))
    shared = {
        "order": str(rng.randint(10**5, 10 ** rng.randint(6, 10) - 1)),
        "size": rng.choice(_LETTERS) if rng.random() < 0.5 else str(rng.randint(22, 48)),
        "code": _code(rng) + str(rng.randint(1000, 99_999_999)),
        "n": str(low),
        "m": str(low + rng.randint(1, 30) if "to {m}" in english else rng.randint(1, low - 1)),
    }
    day, price = rng.randint(1, 31), f"{rng.randint(1, 2500)}{cents}"
    return (
        english.format(
            **shared,
            date=f"{MONTHS[month - 1]} {day}",
            time=f"{hour}:{minute} {'pm' if afternoon else 'am'}",
            amount=f"${price}",
            product=product[0],
            colour=colour[0].lower(),
        ),
        chinese.format(
            **shared,
            date=f"{month}月{day}日",
            time=f"{'下午' if afternoon else '上午'}{hour}:{minute}",
            amount=f"{price}美元",
            product=product[1],
            colour=colour[1],
        ),
    )


_SPECIAL_TITLES: tuple[tuple[float, Callable[[Random], Pair]], ...] = (
    (0.06, _device_title),
    (0.04, _compatible_title),
    (0.04, _part_title),
    (0.05, _catalogue_title),
    (0.05, _bundle_title),
)


def draw_pair(rng: Random) -> Pair:
    """Draws one aligned (english, chinese) pair, from either part of the split."""
    if rng.random() < SUPPORT_SHARE:
        return _support_sentence(rng)
    kind, pair = rng.random(), None
    for share, make in _SPECIAL_TITLES:
        if kind < share:
            pair = make(rng)
            break
        kind -= share
    english, chinese = pair if pair is not None else _shop_title(_pick_shelf(rng), rng)
    if rng.random() < 0.12:
        english_tag, chinese_tag = _tag(rng)
        return f"{english_tag}: {english}", f"【{chinese_tag}】{chinese}"
    return english, chinese


_TRAINING_ONLY = frozenset(text for pair in support.SENTENCES for text in pair)


def _bucket(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, person=b"yiwen-demo").digest()
    return int.from_bytes(digest, "little") % HASH_BUCKETS


def split_of(pair: Pair) -> str:
    """Tells "train", "heldout" or "unused". A text decides its part alone, so the parts share no text."""
    if pair[0] in _TRAINING_ONLY:
        return "train"
    english, chinese = _bucket(pair[0]) == 0, _bucket(pair[1]) == 0
    if english and chinese:
        return "heldout"
    return "unused" if english or chinese else "train"


def training_pairs(rng: Random) -> Iterator[Pair]:
    """Endless training pairs; none of their texts can be in the held-out set."""
    while True:
        pair = draw_pair(rng)
        if split_of(pair) == "train":
            yield pair


def held_out_pairs(rows: int = HELD_OUT_ROWS, seed: int = HELD_OUT_SEED) -> list[Pair]:
    """The held-out set: ``rows`` different pairs, always the same."""
    rng = Random(seed)
    pairs: dict[Pair, None] = {}
    while len(pairs) < rows:
        pair = draw_pair(rng)
        if split_of(pair) == "heldout":
            pairs[pair] = None
    return list(pairs)


def held_out_tsv() -> str:
    """The text of heldout.tsv: a header line, then english, a tab and chinese per row."""
    return "".join(f"{english}\t{chinese}\n" for english, chinese in [("en", "zh"), *held_out_pairs()])


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes heldout.tsv, or prints titles to look at.")
    parser.add_argument(
        "--print", type=int, metavar="N", help="print N titles instead of writing heldout.tsv"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the printed titles")
    arguments = parser.parse_args()
    if arguments.print:
        rng = Random(arguments.seed)
        for _ in range(arguments.print):
            print("\t".join(draw_pair(rng)))
        return
    Path(__file__).with_name("heldout.tsv").write_text(held_out_tsv(), encoding="utf-8")


if __name__ == "__main__":
    main()
