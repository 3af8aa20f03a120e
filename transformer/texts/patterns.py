"""Regular expressions of what must survive a translation: placeholders, addresses, codes, emoji. Pure.

Each alternative begins with a set of characters, which lets :mod:`re` skip most places of a text at once; what must
not stand before a match is looked for behind its first character. Every quantifier is bounded, so a search takes time
in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from transformer.texts.scripts import has_letters

UNITS = (
    r"mAh|kWh|Wh|GHz|MHz|kHz|Hz|GB|TB|MB|KB|ml|mL|cl|dl|kg|mg|lbs?|oz|km|cm|mm|nm|in|ft|kW|"
    r"[gmlLVWA]|毫升|升|公斤|千克|毫克|克|厘米|毫米|公里|米|英寸|伏|瓦|毫安时"
)
"""Units that a number may stand before; only the number must survive."""

_PRINTF = r"[-+#0,']{0,3}(?:\d{1,3}|\*)?(?:\.(?:\d{1,3}|\*))?(?:hh?|ll?|[zjtLq])?"
"""Flags, width, precision and length of a printf conversion."""
_NOT_BEHIND_DIGIT = r"%(?<![\d%]%)"
_NO_PER_CENT = _NOT_BEHIND_DIGIT + r"(?<!\d %)"
"""A ``%`` that does not follow a number, as in `50 % de coton`."""
_EXTENSIONS = (
    r"json|ya?ml|xml|html?|csv|tsv|txt|md|pdf|docx?|xlsx?|pptx?|png|jpe?g|gif|svg|zip|tar|gz|exe|apk|ini|toml|cfg|conf|log|"
    r"sql|py|js|ts|sh|php|java|cpp|rs|go|rb|css"
)
_NOT_URL = r"\s<>\"'，。；！？（）【】「」\u4e00-\u9fff"
_URL_REST = rf"[^{_NOT_URL}]{{1,2000}}[^{_NOT_URL}.,;:!?)\]}}]"
_END = r"(?![A-Za-z0-9])"
_EMOJI_STARTS = (
    r"\u231a\u231b\u23e9-\u23f3\u25fd\u25fe\u2600-\u2775\u2794-\u27bf\u2b1b\u2b1c\u2b50\u2b55\U0001f004\U0001f0cf"
    r"\U0001f18e\U0001f191-\U0001f19a\U0001f201\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f250\U0001f251"
    r"\U0001f300-\U0001faff"
)
_EMOJI = rf"[{_EMOJI_STARTS}][\U0001f3fb-\U0001f3ff]?\ufe0f?"

_ALTERNATIVES: tuple[tuple[str, str], ...] = (
    # ICU: a formatted argument; a plural or select argument as a whole
    (
        "template",
        r"\{\s?\w{1,64}\s?,\s?(?:number|date|time|spellout|ordinal|duration|list)\s?(?:,[^{}\n]{0,64})?\}",
    ),
    (
        "template",
        r"\{\s?\w{1,64}\s?,\s?(?:plural|select|selectordinal)\s?,"
        r"(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]{0,64}\}){0,64}\}){0,400}\}){1,400}\}",
    ),
    # Mustache, Jinja, Angular; ERB, PHP
    ("template", r"\{\{\{[^{}\n]{1,64}\}\}\}|\{\{[^{}\n]{1,64}\}\}|\{%[^{}\n]{1,200}?%\}"),
    ("template", r"<%[^<>\n]{1,200}?%>|<\?[a-z]{1,8}\s[^<>\n]{1,200}?\?>"),
    # shell, JavaScript, Ruby; Python, .NET, ICU; Fluent; a name of two or three words
    ("template", r"[$#%@]\{[^{}\n]{1,64}\}"),
    ("template", r"\{[\w.:!<>=^+*/#$\[\]'-]{0,64}\}"),
    ("template", r"\{ ?[$-]?\w[\w.-]{0,63}(?: [\w.-]{1,32}){0,2} ?\}"),
    # printf; Windows' %NAME%; Python's %(name)s; Qt's %1; strftime's %Y
    ("template", r"%%"),
    ("template", _NO_PER_CENT + r"[A-Za-z_]\w{2,63}%(?!%)"),
    ("template", _NOT_BEHIND_DIGIT + r"\(\w{1,64}\)" + _PRINTF + r"[sdifgGxXoeEcrau]"),
    ("template", _NOT_BEHIND_DIGIT + r"(?:\d{1,2}\$)?" + _PRINTF + r"[dsifgGxXeEuop@](?![A-Za-z])"),
    ("template", _NO_PER_CENT + r"(?:\d{1,2}\$)?" + _PRINTF + r"[dsifgGxXeEuop@]"),
    ("template", _NO_PER_CENT + r"(?:\d{1,2}\$)? [dif](?!\w)"),
    ("template", _NOT_BEHIND_DIGIT + r"L?\d{1,2}(?![\d%.,])"),
    ("template", _NOT_BEHIND_DIGIT + r"[A-Za-z](?![A-Za-z])"),
    ("url", rf"(?:https?|ftp)://{_URL_REST}|www(?<![A-Za-z0-9./@]www)\.{_URL_REST}"),
    (
        "email",
        r"[A-Za-z0-9](?<![A-Za-z0-9._%+-].)[A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",
    ),
    (
        "uuid",
        r"[0-9A-Fa-f](?<![A-Za-z0-9-].)[0-9A-Fa-f]{7}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![A-Za-z0-9-])",
    ),
    ("emoji", r"[\U0001f1e6-\U0001f1ff]{2}|[0-9#*]\ufe0f?\u20e3"),
    ("emoji", rf"{_EMOJI}(?:\u200d{_EMOJI}){{0,8}}(?:[\U000e0020-\U000e007e]{{1,16}}\U000e007f)?"),
    # i18next's $t(); $name of PHP and shell; vue-i18n's links; @user; Laravel's :name and :smile:; hash tags
    ("template", r"\$t\([^()\n]{1,128}\)|\$(?<![\w$]\$)(?!(?:US|AU|CA|NZ|HK|SG)\b)[A-Za-z_]\w{0,63}"),
    (
        "template",
        r"@(?:\.\w{1,16})?:(?:\([\w.]{1,64}\)|[\w.]{0,63}\w)|@(?<![\w@.+-]@)[A-Za-z_][\w.-]{0,62}\w",
    ),
    ("template", r":(?<![\w:/.)\]}]:)[A-Za-z_]\w{1,63}(?::(?!\w))?(?![:\w])"),
    ("template", r"\#(?<![\w&]\#)(?![0-9A-Fa-f]{6}\b)[A-Za-z_]\w{1,63}"),
    # react-i18next's <0>; tags; [[name]]; __name__; escapes; entities
    ("template", r"</?\d{1,3}\s?/?>|</?(?!think(?:ing)?>)[A-Za-z][\w:-]{0,32}(?:\s[^<>\n]{0,500})?\s?/?>"),
    ("template", r"\[\[[^\[\]\n]{1,64}\]\]"),
    ("template", r"_(?<![A-Za-z0-9_]_)_[A-Za-z0-9][\w.-]{0,61}?__(?![A-Za-z0-9_])"),
    ("template", r"\\(?:[nrtbfv0'\"\\]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})"),
    ("template", r"&(?:[A-Za-z]{2,31}|\#\d{1,7}|\#x[0-9A-Fa-f]{1,6});"),
    # versions, but neither dates nor numbers in groups of three digits
    ("version", r"[vV](?<![A-Za-z0-9.].)\d{1,5}(?:\.\d{1,5}){0,5}(?:-[a-z]{1,8}\.?\d{0,5})?(?![A-Za-z0-9])"),
    (
        "version",
        r"\d(?<![A-Za-z0-9.,].)(?=\d{0,4}\.)(?!\d?\.\d{1,2}\.\d{4}(?!\d)|\d{3}\.\d{1,2}\.\d{1,2}(?![\d.])"
        r"|\d{0,2}(?:\.\d{3}){2,5}(?![\d.]))\d{0,4}(?:\.\d{1,5}){2,5}(?:-[a-z]{1,8}\.?\d{0,5})?(?!\.?[A-Za-z0-9])",
    ),
    ("quantity", rf"\d(?<![A-Za-z0-9.].)\d{{0,11}}(?:[.,]\d{{1,6}})?\s?(?:{UNITS}){_END}"),
    # codes: in capitals; six digits and more; lower case before digits; digests
    (
        "code",
        r"[A-Z](?<![A-Za-z0-9].)[A-Za-z]{0,15}[-_/]?(?=[A-Za-z0-9_/-]{0,24}\d\d)[A-Z0-9]{1,24}"
        rf"(?:[-_/][A-Z0-9]{{1,24}}){{0,6}}{_END}",
    ),
    ("code", rf"\d(?<![A-Za-z0-9].)\d{{5,31}}{_END}"),
    (
        "code",
        r"[a-z](?<![A-Za-z0-9-].)(?<!.(?=re-|ost-|id-|ate-|arly-|ince-|fter-|efore-|irca-|on-|ub-|ver-|nder-|p-|o-|rom-))"
        rf"[a-z]{{0,14}}[-_/]\d{{3,24}}(?:[-_/][a-z0-9]{{1,24}}){{0,6}}{_END}",
    ),
    ("code", rf"[a-z](?<![A-Za-z0-9].)[a-z]{{0,7}}\d{{1,8}}[a-z]{{1,8}}\d[a-z0-9]{{0,40}}{_END}"),
    ("code", rf"\d(?<![A-Za-z0-9].)\d{{0,7}}[a-z]{{1,8}}\d{{1,8}}[a-z]{{1,8}}\d[a-z0-9]{{0,40}}{_END}"),
    # identifiers with underscores; names of files; options of commands; colours and addresses in hexadecimal
    ("code", r"[A-Za-z](?<![A-Za-z0-9_].)[A-Za-z0-9]{0,31}(?:_[A-Za-z0-9]{1,32}){1,8}(?![A-Za-z0-9_])"),
    ("code", rf"[\w-](?<![\w./\\-].)[\w-]{{0,63}}\.(?:{_EXTENSIONS}){_END}"),
    ("code", rf"-(?<![\w-]-)-[a-z][a-z0-9-]{{1,31}}{_END}"),
    ("code", rf"\#(?=[0-9A-Fa-f]{{0,7}}\d)[0-9A-Fa-f]{{6}}{_END}|0x[0-9A-Fa-f]{{1,16}}{_END}"),
)
_WORDLESS_KINDS = frozenset({"template", "url", "email"})


class _Search:
    """A search for some of the alternatives."""

    def __init__(self, kinds: frozenset[str]) -> None:
        chosen = [each for each in _ALTERNATIVES if each[0] in kinds]
        self._kinds = [kind for kind, _ in chosen]
        self._expression = re.compile("|".join(f"(?:{expression})()" for _, expression in chosen))

    def find(self, text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
        for found in self._expression.finditer(text, start, end):
            yield self._kinds[(found.lastindex or 1) - 1], found.start(), found.end()

    def remove(self, text: str) -> str:
        return self._expression.sub("", text)


_ALL = _Search(frozenset(kind for kind, _ in _ALTERNATIVES))
_WORDLESS = _Search(_WORDLESS_KINDS)
_OTHERS = _Search(frozenset(kind for kind, _ in _ALTERNATIVES) - _WORDLESS_KINDS)
# These two begin with a set as well. What distinguishes its characters is looked for behind it.
_MAY_BE_WORDLESS = re.compile(
    r"[{@<\\_%$\[&#:.](?:(?<=[{@<\\_])|(?<=%)(?:(?<!\d%)|%)|(?<=\$)[A-Za-z_{]|(?<=\[)\[|(?<=&)[A-Za-z#]|(?<=\#)[A-Za-z_]"
    r"|(?<=:)(?://|[A-Za-z])|(?<=www\.))"
)
_MAY_BE_OTHERS = re.compile(
    rf"[\d.\-\u20e3{_EMOJI_STARTS}\U0001f1e6-\U0001f1ff]"
    rf"(?:(?<![.\-])|(?<=-)(?:-[a-z]|(?:[0-9A-Fa-f]{{4}}-){{2}})|(?<=\.)(?:{_EXTENSIONS}){_END})"
)
_PLAIN_WORD = re.compile(
    rf"[\u4e00-\u9fff]*(?:\d{{1,5}}(?!\s?(?:{UNITS}){_END})(?:-|[\u4e00-\u9fff]+|(?!\S)))+(?!\S)"
)
"""A word whose numbers are neither quantities nor codes."""
_SAMPLE_CHARACTERS = 20_000
"""Characters of a text that its language is detected from. Detection takes up to 0.9 us for each."""


def find_protected(text: str) -> Iterator[tuple[str, int, int]]:
    """The kind, start and end of everything in ``text`` that must survive, in order and without overlap."""
    if _MAY_BE_WORDLESS.search(text):
        yield from _ALL.find(text, 0, len(text))
        return
    end = 0
    while (trigger := _MAY_BE_OTHERS.search(text, end)) is not None:
        # The word with the trigger and the next one, which may be its unit; nothing else spans words.
        start = text.rfind(" ", end, trigger.start()) + 1 or end
        if (plain := _PLAIN_WORD.match(text, start)) is not None:
            end = plain.end()
            continue
        end = _word_end(text, trigger.end())
        for found in _OTHERS.find(text, start, _word_end(text, end + 1)):
            yield found
            end = max(end, found[2])


def without_wordless(text: str) -> str:
    """``text`` without spans that have letters but no language: placeholders, URLs, addresses."""
    return _WORDLESS.remove(text) if _MAY_BE_WORDLESS.search(text) else text


def has_words(text: str) -> bool:
    """Whether ``text`` has letters outside of such spans."""
    trigger = _MAY_BE_WORDLESS.search(text)
    if trigger is None:
        return has_letters(text)
    # Up to the first trigger only the characters directly before it, such as those of an address, are part of one.
    before = text[: trigger.start()].rsplit(None, 1)
    return (len(before) > 1 and has_letters(before[0])) or has_letters(_WORDLESS.remove(text))


def detection_sample(text: str) -> str:
    """``text`` without such spans: of a long text the first part of it that has letters, or nothing."""
    if len(text) <= _SAMPLE_CHARACTERS:
        return without_wordless(text)
    for start in range(0, len(text), _SAMPLE_CHARACTERS):
        part = without_wordless(text[start : start + _SAMPLE_CHARACTERS])
        if has_letters(part):
            return part
    return ""


def _word_end(text: str, start: int) -> int:
    end = text.find(" ", start)
    return len(text) if end < 0 else end
