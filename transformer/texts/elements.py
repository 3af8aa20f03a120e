"""What HTML and XML say of elements by their names: which are void, end others, break a sentence. Pure."""

from __future__ import annotations

import re


def names(text: str) -> frozenset[str]:
    """The words of ``text``."""
    return frozenset(text.split())


KEPT = names(
    "code kbd math noscript plaintext pre rp rt samp script style svg template textarea var xmp iframe noembed"
    " noframes"
)
"""HTML elements whose content is not prose, or has a syntax of its own."""
VOID = names("area base br col embed hr img input link meta param source track wbr")
"""HTML elements without content and end tag."""
FORMATTING = names("a b big code em font i nobr s small strike strong tt u")
"""HTML elements that are opened again behind the end of the block that they were left open in."""
FOREIGN = frozenset({"svg", "math"})

_CLOSES_P = names(
    "address article aside blockquote center dd details dialog dir div dl dt fieldset figcaption figure footer form"
    " h1 h2 h3 h4 h5 h6 header hgroup hr li listing main menu nav ol p plaintext pre search section summary table ul"
    " xmp"
)
_TABLE_PARTS = names("caption col colgroup tbody td tfoot th thead tr")
SPLITTING = (
    _CLOSES_P
    | _TABLE_PARTS
    | names(
        "audio base body br button canvas frame frameset head html iframe legend link map meta noembed noframes"
        " noscript object optgroup option select title video"
    )
)
"""HTML elements that a sentence ends at."""

BREAKS_OUT_OF_FOREIGN = names(
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta"
    " nobr ol p pre ruby s small span strike strong sub sup table tt u ul var"
)
INTEGRATION_POINTS = names("annotation-xml desc foreignobject title mi mo mn ms mtext")
"""Elements of SVG and MathML that HTML stands in."""

SPECIAL = names(
    "address applet area article aside base basefont bgsound blockquote body br button caption center col colgroup dd"
    " details dir div dl dt embed fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header"
    " hgroup hr html iframe img input keygen li link listing main marquee menu meta nav noembed noframes noscript"
    " object ol p param plaintext pre script search section select source style summary table tbody td template"
    " textarea tfoot th thead title tr track ul wbr xmp"
)
SCOPES = names("applet caption html table td th marquee object template svg math")
"""Elements that end tags of others, inside of them, do not reach beyond (13.2.4.2)."""
TABLE_SCOPES = frozenset({"html", "table", "template"})
LIST_SCOPES = SCOPES | {"ol", "ul"}
BUTTON_SCOPES = SCOPES | {"button"}
NEVER_EMPTY = ((SPECIAL | FORMATTING | KEPT | SPLITTING) - FOREIGN) | names(
    "abbr acronym bdi bdo cite data del dfn ins label mark meter output picture progress q rb rtc ruby slot span sub"
    " sup time"
)
"""HTML elements that a slash at the end of the start tag does not end."""
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
IN_HEAD = names("base basefont bgsound head html link meta noframes noscript script style template title")

CLOSED_BY_START: tuple[tuple[frozenset[str], frozenset[str], frozenset[str]], ...] = (
    (_CLOSES_P, frozenset({"p"}), BUTTON_SCOPES),
    (frozenset({"option"}), frozenset({"option"}), SPECIAL - {"option"}),
    (frozenset({"optgroup"}), frozenset({"option", "optgroup"}), frozenset({"select"})),
    (frozenset({"rb", "rtc"}), frozenset({"rb", "rp", "rt", "rtc"}), SCOPES | {"ruby"}),
    (frozenset({"rt", "rp"}), frozenset({"rb", "rp", "rt"}), SCOPES | {"ruby", "rtc"}),
    (frozenset({"button"}), frozenset({"button"}), SCOPES),
    (frozenset({"td", "th"}), frozenset({"caption", "colgroup", "td", "th"}), TABLE_SCOPES),
    (frozenset({"tr"}), frozenset({"caption", "colgroup", "td", "th", "tr"}), TABLE_SCOPES),
    (
        frozenset({"tbody", "tfoot", "thead", "caption", "colgroup"}),
        _TABLE_PARTS - {"col"},
        TABLE_SCOPES,
    ),
)  # fmt: skip
"""Names of start tags, the open elements that they end, and the elements beyond which they do not."""
ITEM_ENDS = {"li": frozenset({"li"}), "dd": frozenset({"dd", "dt"}), "dt": frozenset({"dd", "dt"})}
"""The open items that the start tag of another item ends."""

XML_INLINE = names(
    "abbr acronym b bdi bdo bdt big bpt bx cite citetitle code command data del dfn em emph emphasis ept ex filename"
    " font footnoteref g guilabel guimenu hi i ignore img inlinegraphic ins it italic keep link literal mark mrk"
    " menucascade notranslate ph pc q ref s samp sc ec sm em small span strike strong sub subscript sup superscript"
    " term time tt u uicontrol ulink userinput var varname wbr x xref a"
)
"""XML elements that stand within a sentence: HTML's, XLIFF's, DITA's and DocBook's."""
XML_KEPT = frozenset({"script", "style", "xliff:g"})
"""XML elements that are kept: code in XHTML, and what Android's string resources protect."""
_NUMBERED_TAG = re.compile(r"(?:[a-gi-oq-z]|em|span|strong|sub|sup)\d*", re.IGNORECASE)


def is_xml_inline(name: str) -> bool:
    """Whether an XML element stands within a sentence: one of :data:`XML_INLINE`, in any namespace, ``g``, ``b0``."""
    local = name.rpartition(":")[2]
    return local.lower() in XML_INLINE or _NUMBERED_TAG.fullmatch(local) is not None
