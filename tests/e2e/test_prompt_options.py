"""Context, formality and terms through both services, over a random model whose template has places for them.

What the service answers is what the predictor answers to the ids of the whole prompt as one string.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import deepl
import httpx
import polib
import pytest
from tokenizers import Tokenizer

from cli.__main__ import main
from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from protocol.prompt_encoder import PromptEncoder
from tests.e2e.conftest import Service, running_service
from tests.e2e.text_callers import MODEL, joined, messages_of, request_of, streamed, wait_for, whole
from tests.releases import write_checkpoint

TEMPLATE = (
    "<|en|>{#terms}{#term}{term}={translation};{/term}{/terms}{#context}({context}) {/context}"
    "{#formal}Sie: {/formal}{#informal}du: {/informal}{text}<|zh|>"
)
TEXT = "Red shoes"
NEW_TOKENS = 17
"""Of an answer to TEXT that does not stop by itself: a token is a byte."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From English there is a place for everything, from Chinese for nothing."""
    directory = tmp_path_factory.mktemp("sections")
    checkpoint = write_checkpoint(directory / "checkpoint")
    document = json.loads((checkpoint / "translation.json").read_text())
    plain = {"template": document["template"], "sources": ["zh"]}
    document |= {"template": TEMPLATE, "templates": [plain]}
    document["guards"]["checks"] = ["empty"]  # an answer that is cut by its length may be cached, then
    document["limits"] |= {"max_source_tokens": 60, "max_new_tokens": 60, "max_context_tokens": 50}
    (checkpoint / "translation.json").write_text(json.dumps(document))
    request = BuildRequest(checkpoint=checkpoint, out=directory / "random", name="random")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    return directory / "random"


@pytest.fixture(scope="module")
def served(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(release, tmp_path_factory.mktemp("log") / "log", YIWEN_SLOTS="2") as service:
        yield service


@pytest.fixture(scope="module")
def encoder(release: Path) -> PromptEncoder:
    return PromptEncoder.load(release)


def infer(
    service: Service, *texts: str, source: str = "en", target: str = "zh", **more: Any
) -> httpx.Response:
    inputs = [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}]
    if isinstance(contexts := more.get("context"), list):
        inputs.append({"name": "context", "datatype": "BYTES", "shape": [len(contexts)], "data": contexts})
        del more["context"]
    body = {"inputs": inputs, "parameters": {"source": source, "target": target, **more}}
    return httpx.post(f"{service.url}{MODEL}/infer", json=body, timeout=60)


def outputs(response: httpx.Response) -> dict[str, list[Any]]:
    assert response.status_code == 200, response.text
    return {each["name"]: each["data"] for each in response.json()["outputs"]}


def expected(service: Service, release: Path, encoder: PromptEncoder, prompt: str) -> str:
    """The predictor's answer to a prompt, encoded as one string."""
    tokenizer = Tokenizer.from_file(str(release / "tokenizer" / "tokenizer.json"))
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    lengths = {"name": "input_lengths", "datatype": "INT32", "shape": [1], "data": [len(ids)]}
    prompts = {"name": "input_ids", "datatype": "INT32", "shape": [1, len(ids)], "data": ids}
    body = {"inputs": [prompts, lengths], "parameters": {"max_new_tokens": NEW_TOKENS}}
    found = outputs(httpx.post(f"{service.predictor_url}{MODEL}/infer", json=body, timeout=60))
    text = encoder.decode(found["output_ids"][: found["output_lengths"][0]])
    return (text if found["finish_reason"] == ["stop"] else text.rstrip("\ufffd")).strip()


@pytest.mark.parametrize(
    ("parameters", "prompt"),
    [
        ({}, TEXT),
        ({"context": "In a shop"}, f"(In a shop) {TEXT}"),
        ({"formality": "more"}, f"Sie: {TEXT}"),
        ({"formality": "prefer_less"}, f"du: {TEXT}"),
        ({"glossary": '{"terms": {"Red": "红"}}'}, f"Red=红;{TEXT}"),
        (
            {"context": "In a shop", "formality": "more", "glossary": '{"terms": {"shoes": "鞋"}}'},
            f"shoes=鞋;(In a shop) Sie: {TEXT}",
        ),
    ],
)
def test_answers_are_those_of_the_whole_prompt(
    served: Service, release: Path, encoder: PromptEncoder, parameters: dict[str, Any], prompt: str
) -> None:
    answer = expected(served, release, encoder, f"<|en|>{prompt}<|zh|>")
    assert answer
    for _ in range(2):  # generated, and from the cache
        found = outputs(infer(served, TEXT, **parameters))
        assert found["translation"] == [answer]
        assert "flags" not in found
    assert joined(streamed(served, TEXT, **parameters)) == answer
    messages = list(messages_of(served, request_of(TEXT, **parameters)))
    assert "".join(each.text_output for each in messages) == answer


def test_each_context_has_its_own_entry_in_the_cache(served: Service) -> None:
    contexts = ["one", "two", "one"]
    first = outputs(infer(served, "Cached text", "Cached text", "Cached text", context=contexts))
    assert first["cache"] == ["miss", "miss", "shared"]
    again = outputs(infer(served, "Cached text", context="two"))
    assert (again["cache"], again["translation"]) == (["hit"], [first["translation"][1]])
    assert outputs(infer(served, "Cached text"))["cache"] == ["miss"]


def test_what_there_is_no_place_for_is_said(served: Service) -> None:
    found = outputs(infer(served, "红鞋", source="zh", target="en", context="x", formality="less"))
    assert found["flags"] == ["context,formality"]
    end = streamed(served, "红鞋", source="zh", target="en", context="x")[-1]
    assert end["flags"] == ["context"]
    assert whole(served, "红鞋", source="zh", target="en", formality="prefer_more")["flags"] == []
    request = request_of("红鞋", source="zh", target="en", formality="more")
    assert list(list(messages_of(served, request))[-1].end.flags) == ["formality"]


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({"context": "word " * 20}, 413, "text 0: its context has 99 tokens, this release takes at most 50"),
        ({"context": "x" * 20_000}, 413, "text 0: its context has 20000 bytes"),
        ({"context": ["a", "b"]}, 400, "input context has 2 values; send 1, or one for each of 1 texts"),
        ({"context": 5}, 400, "parameter context must be a string"),
        ({"formality": "polite"}, 400, "formality is unknown; known are default, more, less, prefer_more"),
    ],
)
def test_wrong_values_are_refused(
    served: Service, parameters: dict[str, Any], status: int, message: str
) -> None:
    answer = infer(served, TEXT, **parameters)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_a_context_that_is_too_long_leaves_the_other_texts_alone(served: Service) -> None:
    found = outputs(infer(served, TEXT, TEXT, context=["short", "word " * 20], on_error="per_text"))
    assert found["error"][0] == ""
    assert json.loads(found["error"][1])["code"] == "context_too_long"


def test_metadata_lists_the_context(served: Service) -> None:
    metadata = httpx.get(f"{served.url}{MODEL}").json()
    assert {"name": "context", "datatype": "BYTES", "shape": [-1]} in metadata["inputs"]


def test_deepls_parameters_are_used(served: Service, release: Path, encoder: PromptEncoder) -> None:
    client = deepl.DeepLClient("key", server_url=served.url)
    targets = {each.code: each.supports_formality for each in client.get_target_languages()}
    assert (targets["ZH"], targets["EN-GB"]) == (True, False)
    result = client.translate_text(
        TEXT, source_lang="EN", target_lang="ZH", context="In a shop", formality=deepl.Formality.MORE
    )
    assert isinstance(result, deepl.TextResult)
    assert result.text == expected(served, release, encoder, f"<|en|>(In a shop) Sie: {TEXT}<|zh|>")
    with pytest.raises(deepl.DeepLException, match="Target language does not support 'formality'"):
        client.translate_text("红鞋", source_lang="ZH", target_lang="EN-GB", formality="less")
    form = {"text": "红鞋", "target_lang": "EN", "formality": "prefer_less", "context": "x"}
    answer = httpx.post(f"{served.url}/v2/translate", data=form, timeout=60)
    assert answer.headers["x-yiwen-ignored"] == "context"
    assert "x-yiwen-flags" not in answer.headers
    client.close()  # type: ignore[no-untyped-call]


def upload(service: Service, content: str, **fields: str) -> httpx.Response:
    file = {"file": ("a.po", content.encode())}
    return httpx.post(f"{service.url}/v2/document", data=fields, files=file, timeout=60)


def test_deepls_documents_have_a_formality_and_what_they_say_of_their_texts(
    served: Service, release: Path, encoder: PromptEncoder
) -> None:
    contexts = ("In a shop", "word " * 20)
    catalog = "\n".join(f'msgctxt "{each}"\nmsgid "{TEXT}"\nmsgstr ""\n' for each in contexts)
    handle = upload(served, catalog, source_lang="EN", target_lang="ZH", formality="less").json()
    url, key = f"{served.url}/v2/document/{handle['document_id']}", {"document_key": handle["document_key"]}
    wait_for(lambda: httpx.post(url, data=key).json()["status"] == "done")
    result = polib.pofile(httpx.post(f"{url}/result", data=key).text)
    prompts = [f"<|en|>(In a shop) du: {TEXT}<|zh|>", f"<|en|>du: {TEXT}<|zh|>"]
    wanted = [expected(served, release, encoder, prompt) for prompt in prompts]
    assert [entry.msgstr for entry in result] == wanted
    refused = upload(served, catalog, source_lang="ZH", target_lang="EN-GB", formality="more")
    assert refused.status_code == 400
    assert refused.json()["message"] == "Target language does not support 'formality'."


def test_a_domain_of_qwen_mt_is_the_context(served: Service, release: Path, encoder: PromptEncoder) -> None:
    options = {"source_lang": "en", "target_lang": "zh", "domains": "In a shop"}
    body = {
        "model": "random",
        "messages": [{"role": "user", "content": TEXT}],
        "translation_options": options,
    }
    answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=60)
    (choice,) = answer.json()["choices"]
    prompt = f"<|en|>(In a shop) {TEXT}<|zh|>"
    assert choice["message"]["content"] == expected(served, release, encoder, prompt)


def test_the_command_sends_what_a_file_says_of_its_texts(
    served: Service, release: Path, encoder: PromptEncoder, tmp_path: Path
) -> None:
    entries = f'msgctxt "In a shop"\nmsgid "{TEXT}"\nmsgstr ""\n\nmsgid "{TEXT}"\nmsgstr ""\n\n'
    entries += f'msgctxt "{"word " * 20}"\nmsgid "{TEXT}"\nmsgstr ""\n'
    path, out = tmp_path / "a.po", tmp_path / "b.po"
    path.write_text(entries)
    command = ["translate", "--from", "en", "--to", "zh", "--url", served.url]
    assert main([*command, "-i", str(path), "-o", str(out)]) == 0
    prompts = [f"<|en|>(In a shop) {TEXT}<|zh|>", f"<|en|>{TEXT}<|zh|>", f"<|en|>{TEXT}<|zh|>"]
    wanted = [expected(served, release, encoder, prompt) for prompt in prompts]
    assert [entry.msgstr for entry in polib.pofile(str(out))] == wanted
    own = [*command, "--context", "A gate", "--formality", "less"]
    assert main([*own, "-i", str(path), "-o", str(out)]) == 0
    answer = expected(served, release, encoder, f"<|en|>(A gate) du: {TEXT}<|zh|>")
    assert [entry.msgstr for entry in polib.pofile(str(out))] == [answer] * 3
    back = ["translate", "--from", "zh", "--to", "en", "--url", served.url, "-i", str(path), "-o", str(out)]
    assert main(back) == 0
    assert not any(entry.fuzzy for entry in polib.pofile(str(out)))
