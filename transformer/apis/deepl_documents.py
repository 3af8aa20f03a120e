"""Documents of DeepL's API: upload, status, result.

A document is translated in the background by the process that took it, one at a time. Its status and its result are
in a :class:`transformer.apis.file_store.FileStore`: where that is Redis, every replica answers for it. It is
forgotten once it was fetched, or after an hour. A drain ends what is not translated yet, with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from documents.interface import ParsedDocument
from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, NotFound, NotReady, Overloaded, TooLong, YiwenError
from serving.api_app import ApiRoute
from serving.api_request import ApiRequest, UploadedFile
from serving.error_responses import RestResponse
from transformer.apis.answers import json_answer, operation
from transformer.apis.deepl_glossaries import DeepLGlossaries
from transformer.apis.deepl_languages import formality_of, language_of
from transformer.apis.file_store import FileStore
from transformer.apis.file_translation import FileLanguages, parse_file, translate_file
from transformer.apis.text_service import TextService

MAX_HELD_BYTES = 32 * 2**20
"""Bytes of all documents of this process that are not fetched yet; further ones are refused."""
STATUS_WAIT_S = 2.0
"""Longest time for which a question for the status of an open document waits for its end. DeepL's clients ask once at
once, and then every five seconds, however small a document is."""
_STATUS_POLL_S = 0.05
ALIVE_S = 15.0
"""Seconds between signs of life of the process that translates a document."""
_LOST_S = 4 * ALIVE_S
"""Without a sign of life for so long, that process has ended."""
_STOPPED = "The service was stopped before it had translated this document. Upload it again."
_ID = re.compile(r"[0-9A-F]{32}")
_log = logging.getLogger("yiwen.apis")


@dataclass(slots=True)
class DocumentJob:
    """One document, as all replicas know it."""

    key: str
    alive_at: float
    """Unix time of the last sign of life of its process."""
    status: str = "queued"
    """``queued``, ``translating``, ``done`` or ``error``."""
    characters: int = 0
    fault: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is still to be translated."""
        return self.status in ("queued", "translating")

    def fail(self, fault: str) -> None:
        """End with an error, in words."""
        self.status, self.fault = "error", fault


class DeepLDocuments:
    """Routes under /v2/document."""

    def __init__(
        self,
        service: TextService,
        glossaries: DeepLGlossaries,
        files: FileStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make the routes.

        Args:
            service: translates.
            glossaries: that documents may use.
            files: keeps what is known of documents, and their results.
            clock: Unix time, seconds.
        """
        self._service = service
        self._glossaries = glossaries
        self._files = files
        self._clock = clock
        self._held: dict[str, int] = {}
        """Bytes of the documents of this process by their id."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        service.close_later(self._close)
        upload: dict[str, Mapping[str, object]] = {
            "target_lang": service.languages.schema,
            "source_lang": service.languages.schema,
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
        await self._make_room(len(file.content))
        ids = [each for each in (fields.text("glossary_id"),) if each]
        parsed = await asyncio.to_thread(parse_file, file, FileLanguages(source, target))
        texts = [unit.text for unit in parsed.units]
        glossary = await self._glossaries.glossary_for(request, ids, texts, (source, target))
        job = DocumentJob(secrets.token_hex(32).upper(), self._clock())
        job_id = secrets.token_hex(16).upper()
        await self._put(job_id, job)
        self._held[job_id] = len(file.content)
        languages = FileLanguages(source, target, glossary, formality)
        task = asyncio.create_task(self._work_on(job_id, job, parsed, languages, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return json_answer({"document_id": job_id, "document_key": job.key})

    async def _work_on(
        self,
        job_id: str,
        job: DocumentJob,
        parsed: ParsedDocument,
        languages: FileLanguages,
        request: ApiRequest,
    ) -> None:
        """Translate a document and keep its result, with signs of life meanwhile."""
        life = asyncio.create_task(self._show_life(job_id, job))
        try:
            await self._translate(job_id, job, parsed, languages, request)
        except asyncio.CancelledError:
            job.fail(_STOPPED)
            raise
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            try:
                await self._put(job_id, job)
            except YiwenError as error:
                _log.warning("a document's end cannot be kept", extra={"fields": {"error": str(error)}})

    async def _translate(
        self,
        job_id: str,
        job: DocumentJob,
        parsed: ParsedDocument,
        languages: FileLanguages,
        request: ApiRequest,
    ) -> None:
        try:
            async with self._turn:
                job.status = "translating"
                await self._put(job_id, job)
                translated = await translate_file(self._service, parsed, languages, request)
            job.characters = translated.characters
            if translated.is_unchanged:
                job.fail("Source and target language are equal.")
                return
            await self._files.put(_result_of(job_id), translated.content)
            self._held[job_id] = self._held.get(job_id, 0) + len(translated.content)
            job.status = "done"
        except YiwenError as error:
            job.fail(_STOPPED if error.code is ErrorCode.SHUTTING_DOWN else error.message)
        # The outermost handler: whatever a format raises must become a status, or its client asks for ever.
        except Exception:  # noqa: BLE001
            job.fail("internal error")
            _log.exception("a document could not be translated")

    async def _show_life(self, job_id: str, job: DocumentJob) -> None:
        while True:
            await asyncio.sleep(ALIVE_S)
            job.alive_at = self._clock()
            with contextlib.suppress(YiwenError):
                await self._put(job_id, job)

    async def _status(self, request: ApiRequest) -> RestResponse:
        job = await self._ended(request)
        document: dict[str, object] = {"document_id": request.arguments["id"], "status": job.status}
        if job.status == "translating":
            document["seconds_remaining"] = 1
        if job.status == "done":
            document["billed_characters"] = job.characters
        if job.status == "error":
            document["error_message"] = job.fault
        return json_answer(document)

    async def _result(self, request: ApiRequest) -> RestResponse:
        job = await self._find(request)
        job_id = request.arguments["id"]
        if job.status == "error":
            raise InvalidRequest(job.fault)
        if job.status != "done":
            raise NotReady("Document is not ready yet.", retry_after_s=1.0)
        content = await self._files.get(_result_of(job_id))
        if content is None:
            raise _not_found()
        if request.method != "HEAD":
            await self._files.delete(job_id, _result_of(job_id))
            self._held.pop(job_id, None)
        return RestResponse(200, content, {"content-type": "application/octet-stream"})

    async def _ended(self, request: ApiRequest) -> DocumentJob:
        """The document of the path, once it is translated or :data:`STATUS_WAIT_S` are over; raises as :meth:`_find`.

        Another replica may be the one that translates it: the store is asked again and again.
        """
        end = time.monotonic() + STATUS_WAIT_S
        while (job := await self._find(request)).is_open and time.monotonic() < end:
            await asyncio.sleep(_STATUS_POLL_S)
        return job

    async def _find(self, request: ApiRequest) -> DocumentJob:
        """The document of the path, for one who has its key.

        Raises:
            NotFound: there is none.
        """
        key = request.fields.text("document_key") or ""
        known = (
            await self._files.get(request.arguments["id"]) if _ID.fullmatch(request.arguments["id"]) else None
        )
        if known is None:
            raise _not_found()
        job = DocumentJob(**json.loads(known))
        if not hmac.compare_digest(job.key.encode(), key.encode()):
            raise _not_found()
        if job.is_open and self._clock() - job.alive_at > _LOST_S:
            job.fail(_STOPPED)
        return job

    async def _put(self, job_id: str, job: DocumentJob) -> None:
        await self._files.put(job_id, json.dumps(asdict(job)).encode())

    async def _make_room(self, size: int) -> None:
        """Forget documents of this process that were fetched from another replica, or are too old.

        Raises:
            TooLong, Overloaded: there is no room for one of ``size`` bytes.
        """
        if size > MAX_HELD_BYTES:
            raise TooLong(
                f"the document is larger than {MAX_HELD_BYTES} bytes", code=ErrorCode.BODY_TOO_LARGE
            )
        if sum(self._held.values()) + size <= MAX_HELD_BYTES:
            return
        for job_id in list(self._held):
            if await self._files.get(job_id) is None:
                self._held.pop(job_id, None)
        if sum(self._held.values()) + size > MAX_HELD_BYTES:
            raise Overloaded(
                "too many documents are held; fetch their results, or retry later", retry_after_s=5.0
            )

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _result_of(job_id: str) -> str:
    """The name of a document's result in the store."""
    return f"{job_id}-result"


def _not_found() -> NotFound:
    return NotFound("Document not found.", code=ErrorCode.PATH_NOT_FOUND)
