"""Documents: DeepL's upload, status and result with its client, and LibreTranslate's /translate_file."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import deepl
import httpx
import pytest

from tests.e2e.conftest import Service
from tests.transformer.apis.conftest import LAMP_ZH, SHIRT, SHIRT_ZH


@pytest.fixture(scope="module")
def client(demo: Service) -> Iterator[deepl.DeepLClient]:
    opened = deepl.DeepLClient("any-key", server_url=demo.url)
    yield opened
    opened.close()  # type: ignore[no-untyped-call]


def test_a_document_is_uploaded_translated_and_fetched(client: deepl.DeepLClient, tmp_path: Path) -> None:
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text(f"{SHIRT}\n\n{SHIRT}\n", encoding="utf-8")
    status = client.translate_document_from_filepath(source, target, target_lang="ZH")
    assert target.read_text(encoding="utf-8") == f"{SHIRT_ZH}\n\n{SHIRT_ZH}\n"
    assert (status.ok, status.done) == (True, True)
    assert status.billed_characters == 2 * len(SHIRT)


def test_formats_are_kept(client: deepl.DeepLClient) -> None:
    out = io.BytesIO()
    subtitles = f"1\n00:00:01,000 --> 00:00:02,000\n{SHIRT}\n"
    client.translate_document(subtitles.encode(), out, target_lang="ZH", filename="a.srt")
    assert out.getvalue().decode() == f"1\n00:00:01,000 --> 00:00:02,000\n{SHIRT_ZH}\n"
    out = io.BytesIO()
    page = f"<html><body><p>{SHIRT}</p></body></html>"
    client.translate_document(page.encode(), out, target_lang="ZH", filename="a.html")
    assert f"<p>{SHIRT_ZH}</p>" in out.getvalue().decode()


def test_a_document_in_the_target_language_is_an_error(client: deepl.DeepLClient) -> None:
    with pytest.raises(
        deepl.DocumentTranslationException, match="Source and target language are equal"
    ) as caught:
        client.translate_document(LAMP_ZH.encode(), io.BytesIO(), target_lang="ZH", filename="a.txt")
    assert caught.value.document_handle is not None


def test_an_unknown_suffix_is_refused(client: deepl.DeepLClient) -> None:
    with pytest.raises(deepl.DeepLException, match="file extension"):
        client.translate_document(b"x", io.BytesIO(), target_lang="ZH", filename="a.invalid")


def test_a_broken_document_is_refused(client: deepl.DeepLClient) -> None:
    with pytest.raises(deepl.DeepLException, match="Invalid file"):
        client.translate_document(b"{", io.BytesIO(), target_lang="ZH", filename="a.json")


def test_a_document_needs_its_key_and_is_given_once(http: httpx.Client) -> None:
    files = {"file": ("a.txt", SHIRT.encode())}
    handle = http.post("/v2/document", data={"target_lang": "ZH"}, files=files).json()
    path = f"/v2/document/{handle['document_id']}"
    assert http.post(path, json={"document_key": "0" * 64}).status_code == 404
    key = {"document_key": handle["document_key"]}
    end = time.monotonic() + 20
    while http.post(path, json=key).json()["status"] != "done":
        assert time.monotonic() < end
        time.sleep(0.02)
    assert http.post(f"{path}/result", json=key).content.decode() == SHIRT_ZH
    assert http.post(f"{path}/result", json=key).status_code == 404


def test_a_document_uses_a_glossary(client: deepl.DeepLClient) -> None:
    glossary = client.create_glossary("doc", "EN", "ZH", {"shirt": "T恤"})
    out = io.BytesIO()
    client.translate_document(
        SHIRT.encode(),
        out,
        source_lang="EN",
        target_lang="ZH",
        glossary=glossary,
        filename="a.txt",
    )
    assert "T恤" in out.getvalue().decode()
    client.delete_glossary(glossary)


def test_a_glossary_for_a_document_in_no_given_language_is_refused(http: httpx.Client) -> None:
    fields = {"target_lang": "ZH", "glossary_id": "96ab91fd-e715-41a1-adeb-5d701f84a483"}
    response = http.post("/v2/document", data=fields, files={"file": ("a.txt", SHIRT.encode())})
    message = "Use of a glossary requires the source_lang parameter to be specified."
    assert (response.status_code, response.json()) == (400, {"message": message})


def test_a_form_without_a_file_is_refused(http: httpx.Client) -> None:
    response = http.post("/v2/document", data={"target_lang": "ZH"})
    assert (response.status_code, response.json()) == (400, {"message": "Invalid file data."})


def test_libretranslate_translates_a_file_and_names_where_it_is(http: httpx.Client) -> None:
    files = {"file": ("a.srt", f"1\n00:00:01,000 --> 00:00:02,000\n{SHIRT}\n".encode())}
    response = http.post("/translate_file", data={"source": "en", "target": "zh"}, files=files)
    assert response.status_code == 200
    url = response.json()["translatedFileUrl"]
    assert url.startswith(str(http.base_url).rstrip("/") + "/download_file/")
    assert url.endswith(".srt")
    fetched = httpx.get(url)
    assert SHIRT_ZH in fetched.text
    assert "attachment" in fetched.headers["content-disposition"]
    assert http.get("/download_file/other.srt").status_code == 404


@pytest.mark.parametrize(
    ("fields", "name", "words"),
    [
        ({"source": "en", "target": "zh"}, None, "Invalid request: missing file parameter"),
        ({"target": "zh"}, "a.txt", "Invalid request: missing source parameter"),
        ({"source": "en", "target": "zz"}, "a.txt", "zz is not supported"),
        ({"source": "en", "target": "zh"}, "a.exe", "Invalid request: file format not supported"),
    ],
)
def test_libretranslates_errors_of_files_have_its_words(
    http: httpx.Client, fields: dict[str, str], name: str | None, words: str
) -> None:
    files = {"file": (name, b"text")} if name else {"other": ("a.txt", b"text")}
    response = http.post("/translate_file", data=fields, files=files)
    assert (response.status_code, response.json()) == (400, {"error": words})
