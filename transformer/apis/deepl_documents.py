"""Documents of DeepL's API: upload, status, result.

A document is translated in the background, one at a time and in the memory of this process: another replica does not
know it, and a drain ends it. It is forgotten once it was fetched, or after an hour.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from documents.interface import ParsedDocument
from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, NotFound, NotReady, Overloaded, TooLong, YiwenError
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest, UploadedFile
from serving.error_responses import RestResponse
from transformer.apis.answers import STRING, json_answer, operation
from transformer.apis.deepl_glossaries import DeepLGlossaries
from transformer.apis.deepl_languages import formality_of, language_of
from transformer.apis.file_translation import FileLanguages, parse_file, translate_file
from transformer.apis.text_service import TextService

MAX_HELD_BYTES = 32 * 2**20
"""Bytes of all documents that are held; further ones are refused."""
KEPT_S = 3600.0
_log = logging.getLogger("yiwen.apis")


@dataclass(slots=True)
class DocumentJob:
    """One document."""

    key: str
    name: str
    size: int
    created_at: float
    status: str = "queued"
    """``queued``, ``translating``, ``done`` or ``error``."""
    characters: int = 0
    fault: str = ""
    result: bytes = b""


class DeepLDocuments:
    """Routes under /v2/document."""

    def __init__(
        self,
        service: TextService,
        glossaries: DeepLGlossaries,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._glossaries = glossaries
        self._clock = clock
        self._jobs: dict[str, DocumentJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        service.close_later(self._close)
        upload = {
            "target_lang": STRING,
            "source_lang": STRING,
            "file": {"type": "string", "format": "binary"},
        }
        forms = ("multipart/form-data",)
        self.routes = [
            ApiRoute(
                "POST",
                "/v2/document",
                self._upload,
                operation("Upload a document", upload, required=("target_lang", "file"), media_types=forms),
            ),
            ApiRoute("POST", "/v2/document/{id}", self._status, operation("Status of a document")),
            ApiRoute("GET", "/v2/document/{id}", self._status, operation("Status of a document")),
            ApiRoute("POST", "/v2/document/{id}/result", self._result, operation("The translated document")),
            ApiRoute("GET", "/v2/document/{id}/result", self._result, operation("The translated document")),
        ]

    async def _upload(self, request: ApiRequest) -> RestResponse:
        fields = request.fields
        self._service.caller(request)
        file = fields.files.get("file")
        if file is None:
            raise InvalidRequest("Invalid file data.")
        file = UploadedFile(fields.text("filename") or file.name, file.content)
        table = self._service.languages
        target = language_of(table, "target_lang", fields.text("target_lang"))
        given = fields.text("source_lang")
        source = language_of(table, "source_lang", given) if given else None
        wanted = fields.text("output_format")
        if wanted and f".{wanted.lower()}" != Path(file.name).suffix.lower():
            raise InvalidRequest("Value for 'output_format' not supported: a document keeps its format.")
        formality = formality_of(table, fields.text("formality"), source, target)
        self._make_room(len(file.content))
        ids = [each for each in (fields.text("glossary_id"),) if each]
        parsed = await asyncio.to_thread(parse_file, file, FileLanguages(source, target))
        texts = [unit.text for unit in parsed.units]
        glossary = await self._glossaries.glossary_for(request, ids, texts, (source, target))
        job = DocumentJob(secrets.token_hex(32).upper(), file.name, len(file.content), self._clock())
        job_id = secrets.token_hex(16).upper()
        self._jobs[job_id] = job

        languages = FileLanguages(source, target, glossary, formality)
        task = asyncio.create_task(self._translate(job, parsed, languages, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return json_answer({"document_id": job_id, "document_key": job.key})

    async def _translate(
        self, job: DocumentJob, parsed: ParsedDocument, languages: FileLanguages, request: ApiRequest
    ) -> None:
        try:
            async with self._turn:
                job.status = "translating"
                translated = await translate_file(self._service, parsed, languages, request)
            job.characters = translated.characters
            if translated.is_unchanged:
                job.status, job.fault = "error", "Source and target language are equal."
            else:
                job.result, job.status = translated.content, "done"
        except YiwenError as error:
            job.status, job.fault = "error", error.message
        # The outermost handler: whatever a format raises must become a status, or its client asks for ever.
        except Exception:  # noqa: BLE001
            job.status, job.fault = "error", "internal error"
            _log.exception("a document could not be translated")

    async def _status(self, request: ApiRequest) -> RestResponse:
        job = self._find(request)
        document: dict[str, object] = {"document_id": request.arguments["id"], "status": job.status}
        if job.status == "translating":
            document["seconds_remaining"] = 1
        if job.status == "done":
            document["billed_characters"] = job.characters
        if job.status == "error":
            document["error_message"] = job.fault
        return json_answer(document)

    async def _result(self, request: ApiRequest) -> RestResponse:
        job = self._find(request)
        if job.status == "error":
            raise InvalidRequest(job.fault)
        if job.status != "done":
            raise NotReady("Document is not ready yet.", retry_after_s=1.0)
        del self._jobs[request.arguments["id"]]
        return RestResponse(200, job.result, {"content-type": "application/octet-stream"})

    def _find(self, request: ApiRequest) -> DocumentJob:
        """The document of the path, for one who has its key.

        Raises:
            NotFound: there is none.
        """
        job = self._jobs.get(request.arguments["id"])
        key = request.fields.text("document_key") or ""
        if job is None or not hmac.compare_digest(job.key.encode(), key.encode()):
            raise NotFound("Document not found.", code=ErrorCode.PATH_NOT_FOUND)
        return job

    def _make_room(self, size: int) -> None:
        """Forget old documents.

        Raises:
            TooLong, Overloaded: there is no room for one of ``size`` bytes.
        """
        now = self._clock()
        for job_id in [job_id for job_id, job in self._jobs.items() if now - job.created_at > KEPT_S]:
            del self._jobs[job_id]
        if size > MAX_HELD_BYTES:
            raise TooLong(
                f"the document is larger than {MAX_HELD_BYTES} bytes", code=ErrorCode.BODY_TOO_LARGE
            )
        if sum(job.size + len(job.result) for job in self._jobs.values()) + size > MAX_HELD_BYTES:
            raise Overloaded(
                "too many documents are held; fetch their results, or retry later", retry_after_s=5.0
            )

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
