"""The command against a real transformer process, and against a server that refuses on purpose."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.service import TRIES, TranslateError, TranslateJob, backoff_s, translate_all
from cli.translate_input import LineSource
from cli.translate_output import renderer_of
from cli.translate_run import TranslateRun
from documents.plain_text import TextLine
from tests.cli.stand_in_service import Refusing, breaking, outputs
from tests.transformer.predictor_stand_in import RELEASE, StandIn, serve
from tests.transformer.process import ROOT, Transformer, environment, running_transformer
from tests.transformer.release import write_release


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transformer]:
    release = write_release(tmp_path_factory.mktemp("releases") / "tiny", release_id=RELEASE)
    with serve(StandIn()) as predictor, running_transformer(release, predictor.url) as served:
        yield served


def test_texts_of_the_command_line_come_back_one_per_line(
    transformer: Transformer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["translate", "--to", "zh", "--url", transformer.url, "red shoes", "手机壳"]) == 0
    assert capsys.readouterr().out == "red shoes\n手机壳\n"


def test_json_tells_all_that_is_known(transformer: Transformer, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{transformer.url}/"
    assert main(["translate", "--to", "en", "--from", "zh-CN", "--url", url, "--json", "无线耳机"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "text": "无线耳机",
        "translation": "无线耳机",
        "source": "zh",
        "confidence": pytest.approx(0.606531),
        "cache": "miss",
        "flags": [],
    }


def test_a_file_of_many_batches_keeps_its_lines_in_order(transformer: Transformer, tmp_path: Path) -> None:
    lines = [f"line number {number}" if number % 7 else "" for number in range(500)]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = ["-i", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.txt")]
    command = ["translate", "--to", "zh", "--url", transformer.url, "--model", "tiny", *files]
    assert main([*command, "--batch", "16", "--in-flight", "5"]) == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").split("\n") == [*lines, ""]


def test_stdin_is_translated_line_by_line(
    transformer: Transformer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"red shoes\n\nhello")))
    assert main(["translate", "--to", "zh", "--url", transformer.url]) == 0
    assert capsys.readouterr().out == "red shoes\n\nhello\n"


PAGE = '<p class="a">red shoes</p>\r\n<script>\r\nif (a < b) "hello"\r\n</script>\r\n'


def test_a_page_is_one_text_and_keeps_every_byte_of_its_markup(
    transformer: Transformer, tmp_path: Path
) -> None:
    (tmp_path / "in.html").write_bytes(PAGE.encode())
    files = ["-i", str(tmp_path / "in.html"), "-o", str(tmp_path / "out.html")]
    command = ["translate", "--to", "zh", "--format", "html", "--url", transformer.url]
    assert main([*command, *files]) == 0
    assert (tmp_path / "out.html").read_bytes() == PAGE.encode()


def test_texts_of_the_command_line_may_be_markup(
    transformer: Transformer, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["translate", "--to", "zh", "--url", transformer.url, "--format", "xml"]
    assert main([*command, "<a>red shoes</a>", "<b/>"]) == 0
    assert capsys.readouterr().out == "<a>red shoes</a>\n<b/>\n"
    assert main([*command, "<a>red shoes"]) == 1
    assert "not well-formed xml" in capsys.readouterr().err


def test_a_glossary_is_read_from_its_file(
    transformer: Transformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "glossary.json"
    path.write_text('{"terms": {"shoes": "跑鞋"}}', encoding="utf-8")
    command = ["translate", "--to", "zh", "--url", transformer.url, "--glossary", str(path)]
    assert main([*command, "shoes"]) == 0
    assert capsys.readouterr().out == "跑鞋\n"
    path.write_text("{}}", encoding="utf-8")
    assert main([*command, "shoes"]) == 1
    assert "parameter glossary: it is not JSON" in capsys.readouterr().err
    path.unlink()
    assert main([*command, "shoes"]) == 1
    assert "glossary.json" in capsys.readouterr().err


def test_what_is_flagged_is_said_beside_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    with Refusing().serving() as server:
        flags = {"name": "flags", "data": ["", "ratio,script"]}
        server.body = lambda texts: {"outputs": [*outputs(texts), flags]}
        command = ["translate", "--to", "zh", "--url", server.url, "one", "two"]
        assert main(command) == 0
        shown = capsys.readouterr()
        assert shown.out == "ONE\nTWO\n"
        assert shown.err == "yiwen translate: text 1 is flagged: ratio, script\n"
        assert main([*command, "--json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [json.loads(line)["flags"] for line in lines] == [[], ["ratio", "script"]]


def test_the_servers_message_is_shown_and_the_exit_code_is_1(
    transformer: Transformer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["translate", "--to", "fr", "--url", transformer.url, "red shoes"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(
        "yiwen translate: text 0: target language 'fr' is not one this release speaks"
    )


LINES = "red shoes\nПривет мир\n" + "é" * 150 + "\nblue shirt\n"


def test_a_text_that_cannot_be_translated_is_skipped_on_request(
    transformer: Transformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text(LINES, encoding="utf-8")
    command = ["translate", "--to", "zh", "--url", transformer.url, "-i", str(tmp_path / "in.txt")]
    assert main([*command, "--on-error", "skip"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "red shoes\n\n\nblue shirt\n"
    first, second, summary = shown.err.splitlines()
    assert first.startswith("yiwen translate: text 1 has no translation: its language is none of")
    assert first.endswith("(language_undetected)")
    assert second.startswith("yiwen translate: text 2 has no translation: it has 300 tokens")
    assert summary == "yiwen translate: 2 texts have no translation: 1 language_undetected, 1 text_too_long"


def test_a_skipped_text_has_its_error_in_json(
    transformer: Transformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text(LINES, encoding="utf-8")
    command = ["translate", "--to", "zh", "--url", transformer.url, "-i", str(tmp_path / "in.txt")]
    assert main([*command, "--on-error", "skip", "--json", "--batch", "3"]) == 1
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each.get("error", {}).get("code") for each in documents] == [
        None,
        "language_undetected",
        "text_too_long",
        None,
    ]
    assert [each["cache"] == "none" for each in documents] == [False, True, True, False]


def test_a_text_that_cannot_be_translated_stops_the_command_by_default(
    transformer: Transformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text(LINES, encoding="utf-8")
    command = ["translate", "--to", "zh", "--url", transformer.url, "-i", str(tmp_path / "in.txt")]
    assert main([*command, "--batch", "1", "--in-flight", "1"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "red shoes\n"
    assert "its language is none of" in shown.err


def test_texts_and_a_file_at_once_are_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "--to", "zh", "-i", "file", "text"]) == 2
    assert "not both" in capsys.readouterr().err


def test_no_service_is_said_with_the_way_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "--to", "zh", "--url", "http://127.0.0.1:9", "text"]) == 2
    assert "no service at http://127.0.0.1:9; start one with `yiwen serve" in capsys.readouterr().err


def test_a_reader_that_has_enough_ends_the_command_quietly(transformer: Transformer, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("red shoes\n" * 20_000, encoding="utf-8")
    command = [sys.executable, "-m", "cli", "translate", "--to", "zh", "--url", transformer.url]
    with subprocess.Popen(
        [*command, "-i", str(tmp_path / "in.txt")],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "red shoes\n"
        process.stdout.close()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")


class ClosedPipe:
    """The output of a command whose reader has gone."""

    def write(self, data: bytes) -> None:
        raise BrokenPipeError

    def commit(self) -> None:
        raise AssertionError("nothing was written")


async def test_requests_have_ended_when_writing_fails() -> None:
    lines = [TextLine(f"text {number}", "\n") for number in range(100)]
    with Refusing().serving() as server:
        source = LineSource(lines, len(lines), deque())
        run = TranslateRun(
            job=job(server.url),
            source=source,
            renderer=renderer_of(source, as_json=False),
            output=ClosedPipe(),
            journal=None,
            summarizes=False,
        )
        with pytest.raises(BrokenPipeError):
            await run.run()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def translations(job: TranslateJob, texts: list[str]) -> list[str]:
    return [result.as_line() async for results in translate_all(job, texts) for result in results]


def job(url: str, batch: int = 4, in_flight: int = 3) -> TranslateJob:
    return TranslateJob(url, None, {"target": "zh"}, batch, in_flight)


async def test_a_service_without_room_is_asked_again_after_the_time_it_names() -> None:
    with Refusing((429, {"retry-after": "0.2"}), (503, {"retry-after": "0"})).serving() as server:
        started = time.monotonic()
        assert await translations(job(server.url), ["a"]) == ["A"]
        assert time.monotonic() - started >= 0.2
        assert server.sizes == [1, 1, 1]


async def test_a_service_that_never_has_room_is_given_up_with_its_message() -> None:
    with Refusing(*[(429, {"retry-after": "0"})] * 6).serving() as server:
        with pytest.raises(TranslateError, match=r"^come back later$"):
            await translations(job(server.url), ["a"])
        assert len(server.sizes) == 6


async def test_connections_that_break_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.service.FIRST_PAUSE_S", 0.01)
    with Refusing().serving() as server:
        # The list of models, then the texts: all but one attempt of each fails.
        with breaking(server, True, False, *[True] * (TRIES - 1)) as url:
            assert await translations(job(url), ["a", "b"]) == ["A", "B"]
        with breaking(server, False, *[True] * TRIES) as url:
            with pytest.raises(TranslateError, match=url):
                await translations(job(url), ["a"])
        with breaking(server, True, True) as url:
            with pytest.raises(TranslateError, match=url):
                await translations(job(url), ["a"])


def test_pauses_grow_up_to_a_few_seconds_in_all() -> None:
    for chance, least, most in ((0.0, 3, 3.2), (1.0, 6, 6.4)):
        pauses = [backoff_s(attempt, chance) for attempt in range(TRIES - 1)]
        assert pauses == sorted(pauses)
        assert least <= sum(pauses) <= most


async def test_requests_run_side_by_side_up_to_the_bound_and_results_keep_their_order() -> None:
    texts = [f"text {number}" for number in range(30)]
    with Refusing().serving() as server:
        assert await translations(job(server.url), texts) == [text.upper() for text in texts]
        assert sorted(server.sizes) == [2, *[4] * 7]
        assert 2 <= server.most_running <= 3


async def test_texts_are_read_no_further_ahead_than_requests_run() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "text"

    with Refusing().serving() as server:
        results = translate_all(job(server.url), endless())
        await results.__anext__()
        assert read <= 4 * 3
        await results.aclose()


async def test_a_fault_in_a_later_batch_says_where_to_look() -> None:
    with Refusing().serving() as server:
        results = translate_all(job(server.url, in_flight=1), ["a"] * 10)
        await results.__anext__()
        server.refusals.append((400, {}))
        with pytest.raises(TranslateError, match="in texts 4 to 7: come back later"):
            await results.__anext__()


@pytest.mark.parametrize("text", ["one line", "two\nlines"])
async def test_a_line_stays_a_line_and_a_longer_text_keeps_its_own(text: str) -> None:
    with Refusing().serving() as server:
        server.body = lambda texts: {"outputs": outputs([f"{text}\nmore" for text in texts])}
        (line,) = await translations(job(server.url), [text])
        assert line == ("ONE LINE MORE" if text == "one line" else "TWO\nLINES\nMORE")
