"""Files of `yiwen translate`: nothing is destroyed, every byte around the texts is kept, runs go on after a kill."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.translate_run import RunSummary
from tests.cli.stand_in_service import Refusing, outputs
from tests.transformer.process import ROOT, environment


@pytest.fixture(scope="module")
def service() -> Iterator[Refusing]:
    with Refusing().serving() as server:
        yield server


@pytest.fixture(autouse=True)
def reset(service: Refusing) -> None:
    service.refusals.clear()
    service.texts.clear()
    service.sizes.clear()
    service.formats.clear()
    service.most_texts = 1_000_000
    service.body = lambda texts: {"outputs": outputs(texts)}


def translate(service: Refusing, *words: object) -> int:
    return main(["translate", "--to", "zh", "--url", service.url, *map(str, words)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_the_input_may_be_the_output(service: Refusing, tmp_path: Path, option: tuple[str, ...]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\n")
    assert translate(service, "-i", path, "-o", path, *option) == 0
    if option:
        assert [json.loads(line)["translation"] for line in path.read_text().splitlines()] == ["ONE", "TWO"]
    else:
        assert path.read_bytes() == b"ONE\nTWO\n"
    assert names(tmp_path) == ["a.txt"]


def test_an_old_file_stays_where_there_is_no_service(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("old")
    command = ["translate", "--to", "zh", "--url", "http://127.0.0.1:9", "-o", str(tmp_path / "out.txt")]
    (tmp_path / "in.txt").write_text("one\n")
    assert main([*command, "-i", str(tmp_path / "in.txt")]) == 2
    assert (tmp_path / "out.txt").read_text() == "old"
    assert names(tmp_path) == ["in.txt", "out.txt"]


@pytest.mark.parametrize("from_stdin", [True, False])
def test_lines_of_a_paragraph_may_be_one_text(
    service: Refusing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_stdin: bool
) -> None:
    data = b"one\r\ntwo\r\n\r\n  \r\nthree\r\nfour"
    (tmp_path / "in.txt").write_bytes(data)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    place = () if from_stdin else ("-i", tmp_path / "in.txt")
    assert translate(service, *place, "-o", tmp_path / "out.txt", "--join-lines") == 0
    assert service.texts == ["one\r\ntwo", "", "  ", "three\r\nfour"]
    last = b"\n" if from_stdin else b""
    assert (tmp_path / "out.txt").read_bytes() == data.upper() + last
    assert translate(service, "-i", tmp_path / "in.md", "--join-lines") == 2


def test_lines_and_arguments_may_be_messages_of_icu(service: Refusing, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("{n} files\n{n} hats\n")
    assert translate(service, "-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt", "--format", "icu") == 0
    assert translate(service, "--format", "icu", "{n}") == 0
    assert service.texts == ["{n} files", "{n} hats", "{n}"]
    assert service.formats == ["icu", "icu"]


def test_permissions_and_links_stay_as_they_are(service: Refusing, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "real.txt").chmod(0o640)
    (tmp_path / "link.txt").symlink_to("real.txt")
    assert translate(service, "-i", tmp_path / "in.txt", "-o", tmp_path / "link.txt") == 0
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "ONE\n"
    assert stat.S_IMODE((tmp_path / "real.txt").stat().st_mode) == 0o640


def test_a_pipe_as_output_is_written_to_and_not_replaced(service: Refusing, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert translate(service, "-i", tmp_path / "in.txt", "-o", tmp_path / "pipe") == 0
    reader.join(timeout=10)
    assert read == [b"ONE\n"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing/out.txt", "there is no directory"), (".", "is a directory")]
)
def test_an_output_that_cannot_be_written_is_said_before_anything_is_sent(
    service: Refusing, tmp_path: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    assert translate(service, "-i", tmp_path / "in.txt", "-o", tmp_path / name) == 1
    assert reason in capsys.readouterr().err
    assert not service.sizes


@pytest.mark.parametrize(
    "data",
    [
        b"one\r\ntwo\r\n",
        b"one\rtwo\r",
        b"one\r\ntwo\nthree\r\n\r\n",
        b"one\ntwo",
        b"",
        b"\n",
        b"\n\n\r\n",
        b"\xef\xbb\xbfone\r\ntwo",
        b"\xef\xbb\xbf",
        "one\u2028two\vthree\x85four\n".encode(),
        "\ufeffone\r\ntwo".encode("utf-16-le"),
        "\ufeffone\ntwo\n".encode("utf-16-be"),
    ],
)
def test_line_ends_and_byte_order_marks_are_kept(service: Refusing, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "in.txt").write_bytes(data)
    assert translate(service, "-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt") == 0
    encoding = (
        "utf-8"
        if not data.startswith((b"\xff\xfe", b"\xfe\xff"))
        else ("utf-16-le" if data[0] == 0xFF else "utf-16-be")
    )
    assert (tmp_path / "out.txt").read_bytes() == data.decode(encoding).upper().encode(encoding)
    assert not any("\ufeff" in text or "\r" in text for text in service.texts)


def test_a_byte_order_mark_of_stdin_is_not_translated(
    service: Refusing, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfone\r\ntwo\r\n")))
    assert translate(service) == 0
    assert capfdbinary.readouterr().out == b"\xef\xbb\xbfONE\r\nTWO\r\n"
    assert service.texts == ["one", "two"]


def test_bytes_that_are_not_text_are_said_with_their_line(
    service: Refusing, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.txt").write_bytes(b"one\ntwo\xff\n")
    assert translate(service, "-i", tmp_path / "in.txt") == 1
    shown = capsys.readouterr()
    assert shown.err.endswith("in.txt: line 2: byte 0xff is not UTF-8; convert the file to UTF-8\n")
    assert not service.sizes
    (tmp_path / "in.txt").write_bytes("one\ntwo\n".encode("utf-16-le"))
    assert translate(service, "-i", tmp_path / "in.txt") == 1
    assert "in.txt: line 1: a NUL character" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\n\xfe\n")))
    assert translate(service) == 1
    assert "line 2: byte 0xfe is not UTF-8" in capsys.readouterr().err


def test_odd_bytes_under_the_c_locale_are_a_message(service: Refusing) -> None:
    command = [sys.executable, "-m", "cli", "translate", "--to", "zh", "--url", service.url]
    settings = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    for words, stdin in ((["a\udcff"], b""), ([], b"\xff\n")):
        done = subprocess.run(
            [*command, *words], cwd=ROOT, env=settings, input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 1
        assert b"UTF-8" in done.stderr
        assert b"Traceback" not in done.stderr
    done = subprocess.run(
        command, cwd=ROOT, env=settings, input="é中\n".encode(), capture_output=True, check=True
    )
    assert done.stdout == "É中\n".encode()


def test_a_request_that_is_too_large_is_sent_in_halves(service: Refusing, tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(40)]
    (tmp_path / "in.txt").write_text("\n".join(lines))
    service.most_texts = 12
    assert translate(service, "-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt", "--batch", "2000") == 0
    assert (tmp_path / "out.txt").read_text() == "\n".join(lines).upper()
    assert service.sizes == [40, 20, 10, 10, 20, 10, 10]


def test_long_texts_are_few_in_a_request(service: Refusing, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(letter * 4_000 for letter in "abcdefgh"))
    assert translate(service, "-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt", "--in-flight", "1") == 0
    assert service.sizes == [3, 3, 2]


def test_one_text_that_is_too_large_is_an_error_of_its_own(
    service: Refusing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("one\n" + "x" * 6_000 + "\nthree\n")
    files = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt"]
    assert translate(service, *files) == 1
    assert "in texts 1 to 1: too much" in capsys.readouterr().err
    assert not (tmp_path / "out.txt").exists()
    assert translate(service, *files, "--on-error", "skip") == 1
    assert (tmp_path / "out.txt").read_text() == "ONE\n\nTHREE\n"
    shown = capsys.readouterr().err.splitlines()
    assert shown[-2:] == [
        "yiwen translate: text 1 has no translation: in texts 1 to 1: too much (too_many_texts)",
        "yiwen translate: 1 texts have no translation: 1 too_many_texts",
    ]
    assert names(tmp_path) == ["in.txt", "out.txt"]


def lines_of(path: Path, count: int) -> bytes:
    data = "".join(f"line {number}\n" for number in range(count)).encode()
    path.write_bytes(data)
    return data


def test_a_run_that_stops_goes_on_where_it_was(
    service: Refusing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lines_of(tmp_path / "in.txt", 40)
    (tmp_path / "out.txt").write_text("old")
    command = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt", "--batch", "10", "--in-flight", "1"]

    def body(texts: list[str]) -> object:
        if len(service.texts) == 20:
            service.refusals.append((400, {}))
        return {"outputs": outputs(texts)}

    service.body = body
    assert translate(service, *command) == 1
    assert (tmp_path / "out.txt").read_text() == "old"
    service.body = lambda texts: {"outputs": outputs(texts)}
    service.texts.clear()
    journal = tmp_path / "out.txt.yiwen-resume"
    journal.write_bytes(journal.read_bytes() + b'{"key": "00", "resu')  # cut by a kill
    assert translate(service, *command, "--resume") == 0
    assert (tmp_path / "out.txt").read_bytes() == data.upper()
    assert service.texts == [f"line {number}" for number in range(20, 40)]
    assert names(tmp_path) == ["in.txt", "out.txt"]


def test_a_refused_run_says_how_to_go_on_and_other_options_are_not_mixed(
    service: Refusing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lines_of(tmp_path / "in.txt", 30)
    command = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt", "--batch", "10", "--in-flight", "1"]

    def refusing_next(texts: list[str]) -> object:
        service.refusals.append((400, {}))
        return {"outputs": outputs(texts)}

    service.body = refusing_next
    assert translate(service, *command) == 1
    assert "10 translations are kept in" in capsys.readouterr().err
    service.body = lambda texts: {"outputs": outputs(texts)}
    service.refusals.clear()
    assert translate(service, *command, "--resume", "--from", "en") == 2
    assert "is of a run with other options" in capsys.readouterr().err
    assert translate(service, *command) == 0
    assert "of an interrupted run is replaced; --resume would go on with it" in capsys.readouterr().err
    assert (tmp_path / "out.txt").read_bytes() == data.upper()


def test_a_killed_run_goes_on_where_it_was(service: Refusing, tmp_path: Path) -> None:
    data = lines_of(tmp_path / "in.txt", 200)
    (tmp_path / "out.txt").write_text("old")
    command = ["-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt", "--batch", "5", "--in-flight", "2"]
    program = [
        sys.executable,
        "-m",
        "cli",
        "translate",
        "--to",
        "zh",
        "--url",
        service.url,
        *map(str, command),
    ]
    process = subprocess.Popen(program, cwd=ROOT, env=environment())
    journal = tmp_path / "out.txt.yiwen-resume"
    end = time.monotonic() + 120
    while time.monotonic() < end and not (journal.exists() and journal.read_bytes().count(b"\n") > 20):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=10) == -signal.SIGKILL
    lines = [line for line in journal.read_text().splitlines(keepends=True)[1:] if line.endswith("\n")]
    kept = {json.loads(line)["result"]["text"] for line in lines}
    assert 20 <= len(kept) < 200
    assert (tmp_path / "out.txt").read_text() == "old"
    assert names(tmp_path) == ["in.txt", "out.txt", journal.name]
    service.texts.clear()
    assert translate(service, *command, "--resume") == 0
    assert (tmp_path / "out.txt").read_bytes() == data.upper()
    assert set(service.texts) == {f"line {number}" for number in range(200)} - kept
    assert names(tmp_path) == ["in.txt", "out.txt"]


@pytest.mark.parametrize("words", [("text",), ("-i", "in.txt"), ("-i", "in.txt", "-o", "-")])
def test_only_a_file_can_be_gone_on_with(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "--to", "zh", "--resume", *words]) == 2
    assert "--resume needs -i FILE or stdin, and -o FILE" in capsys.readouterr().err


def test_an_office_file_is_not_written_to_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["translate", "--to", "zh", "-i", "a.docx"]) == 2
    assert "a docx file is no text for a terminal: give -o FILE" in capsys.readouterr().err


def test_a_format_of_files_is_none_of_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "--to", "zh", "--format", "po", "text"]) == 2
    assert "--format po is a format of files; give -i FILE" in capsys.readouterr().err


def test_flags_are_counted_by_kind_at_the_end(
    service: Refusing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines_of(tmp_path / "in.txt", 3)
    flags = {"name": "flags", "data": ["", "ratio,script", "ratio"]}
    service.body = lambda texts: {"outputs": [*outputs(texts), flags]}
    assert translate(service, "-i", tmp_path / "in.txt", "-o", tmp_path / "out.txt") == 0
    assert capsys.readouterr().err.splitlines() == [
        "yiwen translate: text 1 is flagged: ratio, script",
        "yiwen translate: text 2 is flagged: ratio",
        "yiwen translate: 2 of 3 texts are flagged: 2 ratio, 1 script",
    ]


def test_who_watches_is_told_the_rest_too() -> None:
    summary = RunSummary(texts=10, reused=4, failed=Counter(text_too_long=1))
    assert list(summary.lines(2.04, is_watched=True)) == [
        "9 of 10 texts are translated, 4 of them from the journal; 2.0 s"
    ]
    assert list(summary.lines(2.04, is_watched=False)) == []


@pytest.mark.parametrize(
    ("name", "text_format"), [("p.html", "html"), ("p.HTM", "html"), ("p.xml", "xml"), ("p.md5", "text")]
)
def test_the_format_goes_by_the_name(service: Refusing, tmp_path: Path, name: str, text_format: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf<p>one</p>\r\n")
    assert translate(service, "-i", tmp_path / name, "-o", tmp_path / "out") == 0
    assert service.formats == [text_format]
    assert (tmp_path / "out").read_bytes() == b"\xef\xbb\xbf<P>ONE</P>\r\n"
