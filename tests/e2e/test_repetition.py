"""A model that loops loses its slot early, and its answer is flagged: both real processes, a random model."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from protocol.codec import EventDecoder, delta_from_event
from protocol.messages import FinishReason
from tests.e2e.conftest import Service, running_service
from tests.predictor.builder.checkpoints import WEIGHTS, edit_tensors
from tests.predictor.test_repetition import cut_at_a_loop, ends_in_a_loop
from tests.releases import write_checkpoint

BOUND = 160
PROMPTS = [[60 + i, 40, 90 - i] for i in range(40)]


@pytest.fixture(scope="module")
def looping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A random model whose next token depends on the last alone, and whose release looks for loops alone."""
    directory = tmp_path_factory.mktemp("looping")
    checkpoint = write_checkpoint(directory / "checkpoint")
    blind = {
        name: np.zeros_like(values)
        for name, values in load_file(checkpoint / WEIGHTS).items()
        if name.endswith("self_attn.o_proj.weight")
    }
    edit_tensors(checkpoint, blind)
    translation = json.loads((checkpoint / "translation.json").read_text())
    translation["guards"] = {"checks": ["repetition"], "retries": 0}
    translation["template"] = "{source}{target}{text}"
    translation["stop_tokens"] = translation["stop_tokens"][:1]
    translation["limits"] |= {"max_source_tokens": 64, "max_new_tokens": BOUND, "extra_new_tokens": BOUND}
    (checkpoint / "translation.json").write_text(json.dumps(translation))
    request = BuildRequest(checkpoint=checkpoint, out=directory / "random", name="random")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    with running_service(directory / "random", directory / "log", YIWEN_SLOTS="8") as service:
        yield service


def body(max_repeats: int) -> dict[str, object]:
    shape = [len(PROMPTS), len(PROMPTS[0])]
    data = [token for prompt in PROMPTS for token in prompt]
    ids = {"name": "input_ids", "datatype": "INT32", "shape": shape, "data": data}
    lengths = {
        "name": "input_lengths",
        "datatype": "INT32",
        "shape": shape[:1],
        "data": [shape[1]] * len(PROMPTS),
    }
    return {
        "inputs": [ids, lengths],
        "parameters": {"max_new_tokens": BOUND, "max_repeats": max_repeats},
    }


def ask(service: Service, max_repeats: int) -> list[tuple[tuple[int, ...], str]]:
    url = f"{service.predictor_url}/v2/models/random/infer"
    answer = httpx.post(url, json=body(max_repeats), timeout=60)
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    width = len(outputs["output_ids"]) // len(PROMPTS)
    rows = [
        tuple(outputs["output_ids"][row * width :][:length])
        for row, length in enumerate(outputs["output_lengths"])
    ]
    return list(zip(rows, outputs["finish_reason"], strict=True))


def test_a_loop_ends_where_it_is_noticed_and_not_at_its_bound(looping: Service) -> None:
    whole = ask(looping, 0)
    loops = [row for row, _ in whole if len(cut_at_a_loop(row, 4)) < len(row)]
    assert len(loops) >= 5
    before = looping.metric('yiwen_predictor_sequences_total{end="repetition"}')
    generated = looping.metric('yiwen_predictor_tokens_total{kind="generated"}')
    early = ask(looping, 4)
    assert [row for row, _ in early] == [cut_at_a_loop(row, 4) for row, _ in whole]
    stopped = [row for row, reason in early if reason == FinishReason.REPETITION.value]
    assert stopped == [row for row, _ in early if ends_in_a_loop(row, 4)]
    assert looping.metric('yiwen_predictor_sequences_total{end="repetition"}') - before == len(stopped)
    spent = looping.metric('yiwen_predictor_tokens_total{kind="generated"}') - generated
    assert spent < sum(len(row) for row, _ in whole)
    assert looping.metric("yiwen_predictor_slots_used") == 0


def test_a_stream_says_why_it_ended(looping: Service) -> None:
    early = ask(looping, 4)
    answer = httpx.post(f"{looping.predictor_url}/v2/models/random/generate_stream", json=body(4), timeout=60)
    deltas = [delta_from_event(event) for event in EventDecoder().feed(answer.content)]
    ends = {delta.index: delta.end for delta in deltas if delta.end is not None}
    assert [ends[row].finish_reason.value for row in range(len(PROMPTS))] == [reason for _, reason in early]
    for row, (wanted, _) in enumerate(early):
        assert tuple(token for delta in deltas if delta.index == row for token in delta.token_ids) == wanted


def translated(service: Service, texts: Sequence[str]) -> dict[str, list[str]]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    wanted = [{"name": name} for name in ("translation", "flags", "cache")]
    request = {"inputs": [tensor], "outputs": wanted, "parameters": {"source": "en", "target": "zh"}}
    answer = httpx.post(f"{service.url}/v2/models/random/infer", json=request, timeout=60)
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


def test_a_translation_that_was_stopped_is_flagged_and_not_cached(looping: Service) -> None:
    texts = [f"a shirt {letter}" for letter in string.ascii_letters]
    before = looping.metric('yiwen_predictor_sequences_total{end="repetition"}')
    first, second = translated(looping, texts), translated(looping, texts)
    stopped = looping.metric('yiwen_predictor_sequences_total{end="repetition"}') - before
    flagged = [bool(flags) for flags in first["flags"]]
    assert set(first["flags"]) <= {"", "repetition"}
    assert stopped >= 2
    assert 2 * sum(flagged) >= stopped
    assert [status == "miss" for status in second["cache"]] == flagged
    assert second["translation"] == first["translation"]
