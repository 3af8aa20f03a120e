"""Glossaries of DeepL's API: v2, with one language pair each, and v3, with a dictionary for each pair."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, NotFound
from protocol.glossary import MAX_GLOSSARY_ENTRIES, normalize_term
from protocol.messages import Glossary
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest, Fields
from serving.error_responses import RestResponse
from transformer.apis.answers import STRING, json_answer, operation
from transformer.apis.deepl_languages import language_of
from transformer.apis.glossary_entries import entries_tsv, parse_entries
from transformer.apis.glossary_store import GlossaryStore, StoredGlossary
from transformer.apis.text_service import TextService

_CREATED, _NO_CONTENT = 201, 204
MAX_NAME_CHARACTERS = 1024
_Pair = tuple[str, str]


class DeepLGlossaries:
    """Routes under /v2/glossaries and /v3/glossaries, and the glossaries of a translation."""

    def __init__(self, service: TextService, store: GlossaryStore) -> None:
        self._service = service
        self._languages = service.languages
        self._store = store
        v2, v3 = "/v2/glossaries", "/v3/glossaries"
        language = self._languages.schema
        created = {
            "name": STRING,
            "source_lang": language,
            "target_lang": language,
            "entries": STRING,
            "entries_format": {"type": "string", "enum": ["tsv", "csv"]},
        }
        self.routes = [
            ApiRoute("GET", "/v2/glossary-language-pairs", self._pairs, operation("Pairs of languages")),
            ApiRoute(
                "POST", v2, self._create_v2, operation("Create a glossary", created, answers=(_CREATED,))
            ),
            ApiRoute("GET", v2, self._list_v2, operation("List glossaries")),
            ApiRoute("GET", v2 + "/{id}", self._get_v2, operation("Look a glossary up")),
            ApiRoute(
                "DELETE", v2 + "/{id}", self._delete, operation("Delete a glossary", answers=(_NO_CONTENT,))
            ),
            ApiRoute("GET", v2 + "/{id}/entries", self._entries_v2, operation("Entries of a glossary")),
            ApiRoute(
                "POST",
                v3,
                self._create_v3,
                operation("Create a glossary", {"name": STRING}, answers=(_CREATED,)),
            ),
            ApiRoute("GET", v3, self._list_v3, operation("List glossaries")),
            ApiRoute("GET", v3 + "/{id}", self._get_v3, operation("Look a glossary up")),
            ApiRoute(
                "PATCH", v3 + "/{id}", self._change_v3, operation("Change a glossary", {"name": STRING})
            ),
            ApiRoute(
                "DELETE", v3 + "/{id}", self._delete, operation("Delete a glossary", answers=(_NO_CONTENT,))
            ),
            ApiRoute("GET", v3 + "/{id}/entries", self._entries_v3, operation("Entries of a dictionary")),
            ApiRoute(
                "PUT", v3 + "/{id}/dictionaries", self._replace_v3, operation("Replace a dictionary", created)
            ),
            ApiRoute(
                "DELETE",
                v3 + "/{id}/dictionaries",
                self._drop_v3,
                operation("Delete a dictionary", answers=(_NO_CONTENT,)),
            ),
        ]

    async def glossary_for(
        self, request: ApiRequest, ids: Sequence[str], texts: Sequence[str], pair: tuple[str | None, str]
    ) -> Glossary | None:
        """The entries of stored glossaries that occur in some text; those of later glossaries go first.

        Args:
            request: whose caller's glossaries they are.
            ids: of the glossaries.
            texts: to translate.
            pair: the release's tags of source and target.

        Raises:
            NotFound: there is no such glossary.
            InvalidRequest: one has no dictionary for this pair, or the source language is not given.
        """
        source, target = pair
        if not ids:
            return None
        if source is None:
            raise InvalidRequest("Use of a glossary requires the source_lang parameter to be specified.")
        entries: dict[str, str] = {}
        for glossary_id in ids:
            glossary = await self._existing(request, glossary_id)
            dictionary = dictionary_for(glossary, (source, target))
            if dictionary is None:
                raise InvalidRequest(
                    "No dictionary found for language pair: the glossary has none for source_lang and target_lang."
                )
            entries.update(dictionary)
        searched = [normalize_term(text) for text in texts]
        found = [item for item in entries.items() if any(item[0] in text for text in searched)]
        return Glossary(terms=tuple(found[:MAX_GLOSSARY_ENTRIES]))

    async def _pairs(self, request: ApiRequest) -> RestResponse:
        listed = [{"source_lang": source, "target_lang": target} for source, target in self._code_pairs()]
        return json_answer({"supported_languages": listed})

    def _code_pairs(self) -> Sequence[_Pair]:
        return list(dict.fromkeys((_code(source), _code(target)) for source, target in self._languages.pairs))

    async def _create_v2(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        pair, entries = self._dictionary(fields)
        glossary = _new(self._service.caller(request), _name(fields), {pair: entries})
        await self._store.put(glossary)
        return json_answer(_info_v2(glossary), _CREATED)

    async def _list_v2(self, request: ApiRequest) -> RestResponse:
        glossaries = [each for each in await self._all(request) if len(each.dictionaries) == 1]
        return json_answer({"glossaries": [_info_v2(each) for each in glossaries]})

    async def _get_v2(self, request: ApiRequest) -> RestResponse:
        return json_answer(_info_v2(await self._existing(request)))

    async def _entries_v2(self, request: ApiRequest) -> RestResponse:
        glossary = await self._existing(request)
        entries: Mapping[str, str] = next(iter(glossary.dictionaries.values()), {})
        return RestResponse(200, entries_tsv(entries).encode(), {"content-type": "text/tab-separated-values"})

    async def _delete(self, request: ApiRequest) -> RestResponse:
        glossary = await self._existing(request)
        await self._store.delete(glossary.id)
        return RestResponse(_NO_CONTENT, b"", {})

    async def _create_v3(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        glossary = _new(self._service.caller(request), _name(fields), self._dictionaries(fields))
        await self._store.put(glossary)
        return json_answer(_info_v3(glossary), _CREATED)

    async def _list_v3(self, request: ApiRequest) -> RestResponse:
        return json_answer({"glossaries": [_info_v3(each) for each in await self._all(request)]})

    async def _get_v3(self, request: ApiRequest) -> RestResponse:
        return json_answer(_info_v3(await self._existing(request)))

    async def _change_v3(self, request: ApiRequest) -> RestResponse:
        glossary = await self._existing(request)
        fields = request.fields
        name = _name(fields) if "name" in fields else glossary.name
        merged = dict(glossary.dictionaries)
        for pair, entries in self._dictionaries(fields).items():
            merged[pair] = {**merged.get(pair, {}), **entries}
        changed = replace(glossary, name=name, dictionaries=merged)
        await self._store.put(changed)
        return json_answer(_info_v3(changed))

    async def _entries_v3(self, request: ApiRequest) -> RestResponse:
        glossary = await self._existing(request)
        pair = self._pair(request.fields)
        if pair not in glossary.dictionaries:
            raise _unknown_dictionary()
        entries = glossary.dictionaries[pair]
        document = {**_pair_fields(pair), "entries": entries_tsv(entries), "entries_format": "tsv"}
        return json_answer({"dictionaries": [document]})

    async def _replace_v3(self, request: ApiRequest) -> RestResponse:
        glossary = await self._existing(request)
        pair, entries = self._dictionary(request.fields)
        await self._store.put(replace(glossary, dictionaries={**glossary.dictionaries, pair: entries}))
        return json_answer({**_pair_fields(pair), "entry_count": len(entries)})

    async def _drop_v3(self, request: ApiRequest) -> RestResponse:
        glossary = await self._existing(request)
        pair = self._pair(request.fields)
        if pair not in glossary.dictionaries:
            raise _unknown_dictionary()
        kept = {each: entries for each, entries in glossary.dictionaries.items() if each != pair}
        await self._store.put(replace(glossary, dictionaries=kept))
        return RestResponse(_NO_CONTENT, b"", {})

    async def _existing(self, request: ApiRequest, glossary_id: str | None = None) -> StoredGlossary:
        """The caller's glossary of this id, or of the one in the path.

        Raises:
            NotFound: the caller has no such glossary.
        """
        owner = self._service.caller(request)
        glossary = await self._store.get(glossary_id or request.arguments["id"])
        if glossary is None or glossary.owner != owner:
            raise _unknown_glossary()
        return glossary

    async def _all(self, request: ApiRequest) -> list[StoredGlossary]:
        """The caller's glossaries."""
        owner = self._service.caller(request)
        return [glossary for glossary in await self._store.all() if glossary.owner == owner]

    def _dictionaries(self, fields: Fields) -> dict[_Pair, Mapping[str, str]]:
        return dict(self._dictionary(each) for each in fields.objects("dictionaries"))

    def _dictionary(self, fields: Fields) -> tuple[_Pair, Mapping[str, str]]:
        pair = self._pair(fields)
        text = fields.text("entries")
        if text is None:
            raise InvalidRequest("Parameter 'entries' not specified.")
        return pair, parse_entries(text, fields.text("entries_format") or "tsv")

    def _pair(self, fields: Fields) -> _Pair:
        source = language_of(self._languages, "source_lang", fields.text("source_lang"))
        target = language_of(self._languages, "target_lang", fields.text("target_lang"))
        if (source, target) not in self._languages.pairs:
            raise InvalidRequest("Unsupported language pair for glossaries.")
        return source, target


def _name(fields: Fields) -> str:
    name = (fields.text("name") or "").strip()
    if not name:
        raise InvalidRequest("Parameter 'name' not specified.")
    if len(name) > MAX_NAME_CHARACTERS:
        raise InvalidRequest("Value for 'name' is too long.")
    return name


def _new(owner: str, name: str, dictionaries: Mapping[_Pair, Mapping[str, str]]) -> StoredGlossary:
    created_at = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
    return StoredGlossary(str(uuid.uuid4()), owner, name, created_at, dictionaries)


def _code(tag: str) -> str:
    """DeepL's code of a language in glossaries: lower case, without variant."""
    return tag.partition("-")[0].lower()


def dictionary_for(glossary: StoredGlossary, pair: _Pair) -> Mapping[str, str] | None:
    """The dictionary of a pair of the release's tags, or else of other variants; None if there is none."""
    codes = tuple(map(_code, pair))
    others = (entries for each, entries in glossary.dictionaries.items() if tuple(map(_code, each)) == codes)
    return glossary.dictionaries.get(pair) or next(others, None)


def _pair_fields(pair: _Pair) -> dict[str, object]:
    return {"source_lang": _code(pair[0]), "target_lang": _code(pair[1])}


def _info_v2(glossary: StoredGlossary) -> dict[str, object]:
    """The document of a glossary in v2, which shows its first dictionary."""
    ((pair, entries), *_) = glossary.dictionaries.items() or [(("", ""), {})]
    return {
        "glossary_id": glossary.id,
        "name": glossary.name,
        "ready": True,
        **_pair_fields(pair),
        "creation_time": glossary.created_at,
        "entry_count": len(entries),
    }


def _info_v3(glossary: StoredGlossary) -> dict[str, object]:
    dictionaries = [
        {**_pair_fields(pair), "entry_count": len(entries)} for pair, entries in glossary.dictionaries.items()
    ]
    return {
        "glossary_id": glossary.id,
        "name": glossary.name,
        "dictionaries": dictionaries,
        "creation_time": glossary.created_at,
    }


def _unknown_glossary() -> NotFound:
    return NotFound("No glossary found for the given id.", code=ErrorCode.PATH_NOT_FOUND)


def _unknown_dictionary() -> NotFound:
    return NotFound("No dictionary found for the given languages.", code=ErrorCode.PATH_NOT_FOUND)
