"""WebVTT: as SubRip, with a header, notes, styles and entities."""

from __future__ import annotations

from documents.interface import DocumentLanguages, FileFormatError
from documents.subtitles import SubtitleFile, parse_cues

_MARKED_HEADER = b"\xef\xbb\xbfWEBVTT"


def parse(data: bytes, languages: DocumentLanguages) -> SubtitleFile:
    """Read a WebVTT file.

    Raises:
        FileFormatError: the bytes are not text, or do not begin with ``WEBVTT``.
    """
    if not data.startswith((b"WEBVTT", _MARKED_HEADER)):
        raise FileFormatError("it does not begin with WEBVTT")
    return parse_cues(data, has_entities=True)
