"""The command against a real Redis, and what it stored against a real transformer process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from tests.transformer.predictor_stand_in import RELEASE, StandIn, serve
from tests.transformer.process import running_transformer
from tests.transformer.redis_server import RedisServer, running_redis
from tests.transformer.release import write_release

pytestmark = pytest.mark.slow

OTHER = "fedcba9876543210"


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as server:
        monkeypatch.setenv("YIWEN_REDIS_URL", server.url)
        yield server


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("releases") / "tiny", release_id=RELEASE)


Warm = Callable[..., int]


@pytest.fixture
def warm(release: Path, tmp_path: Path) -> Warm:
    def _warm(name: str, content: str, *arguments: str, source: str = "en", target: str = "zh") -> int:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        languages = ["--from", source, "--to", target]
        return main(["cache", "warm", str(path), "--release", str(release), *languages, *arguments])

    return _warm


TMX = """<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en-US"/><body>
<tu><tuv xml:lang="EN-us"><seg>red shoes</seg></tuv><tuv xml:lang="zh_CN"><seg>红鞋</seg></tuv></tu>
<tu><tuv xml:lang="zh"><seg>蓝衬衫 &amp; 帽</seg></tuv><tuv xml:lang="en"><seg>blue shirt &amp; hat</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>no Chinese</seg></tuv><tuv xml:lang="fr"><seg>sans chinois</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>a <bpt i="1">b</bpt> c</seg></tuv><tuv xml:lang="zh"><seg>甲</seg></tuv></tu>
</body></tmx>
"""
TABLE = [("red shoes", "红鞋"), ("blue shirt & hat", "蓝衬衫 & 帽")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("memory.tsv", "".join(f"{text}\t{translation}\n" for text, translation in TABLE)),
        ("memory.csv", "\ufeff" + "".join(f'"{text}",{translation}\r\n\r\n' for text, translation in TABLE)),
        ("memory.tmx", TMX),
    ],
    ids=["tsv", "csv", "tmx"],
)
def test_what_was_warmed_is_a_hit_of_the_service(
    redis: RedisServer, release: Path, warm: Warm, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    assert warm(name, content) == 0
    assert capsys.readouterr().out.startswith(f"stored 2 translations under {RELEASE}; left out: 0")
    with serve(StandIn()) as predictor:
        settings = {"YIWEN_REDIS_URL": redis.url}
        with running_transformer(release, predictor.url, settings=settings) as served:
            asked = ["red shoes", "  red shoes\n", "blue shirt & hat", "a new one"]
            command = ["translate", "--to", "zh", "--url", served.url, "--json"]
            assert main([*command, *asked]) == 0
            answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["cache"] for answer in answers] == ["hit", "hit", "hit", "miss"]
    assert [answer["translation"] for answer in answers] == ["红鞋", "  红鞋\n", "蓝衬衫 & 帽", "a new one"]
    assert len(predictor.requests) == 1


def test_what_cannot_be_a_hit_is_left_out_and_counted(
    redis: RedisServer, warm: Warm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YIWEN_REDIS_MAX_VALUE_BYTES", "100")
    rows = [
        "12\t12",
        "Red shoes. Blue hat.\t红鞋和蓝帽。",
        "red\t ",
        f"{'long ' * 50}\t长",
        "red shoes\t红鞋",
    ]
    assert warm("memory.tsv", "\n".join(rows)) == 0
    assert capsys.readouterr().out == (
        f"stored 1 translations under {RELEASE}; left out: 1 that need no translation, 1 whose "
        "sentences do not pair up, 1 without a translation, 1 larger than YIWEN_REDIS_MAX_VALUE_BYTES\n"
    )


def test_sentences_that_pair_up_are_hits_wherever_they_stand(
    redis: RedisServer, release: Path, warm: Warm, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["Red shoes. Blue hat!  12.\t红鞋。蓝帽！ 12.", "A coat? Yes.\t大衣？ 是的。 好。"]
    assert warm("memory.tsv", "\n".join(rows)) == 0
    assert capsys.readouterr().out.startswith(
        f"stored 2 translations under {RELEASE}; left out: 0 that need no translation, 1 whose sentences"
    )
    with serve(StandIn()) as predictor:
        settings = {"YIWEN_REDIS_URL": redis.url}
        with running_transformer(release, predictor.url, settings=settings) as served:
            command = ["translate", "--to", "zh", "--url", served.url, "--json"]
            assert main([*command, "Red shoes. Blue hat!  12.", "Blue hat! Red shoes."]) == 0
            answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["cache"] for answer in answers] == ["hit", "hit"]
    assert [answer["translation"] for answer in answers] == ["红鞋。 蓝帽！  12.", "蓝帽！ 红鞋。"]
    assert predictor.requests == []


NAMESPACED = """<tmx version="1.4" xmlns="http://www.lisa.org/tmx14"><header/><body>
<tu><tuv xml:lang="en"><seg>red shoes</seg></tuv><tuv xml:lang="zh"><seg>红鞋</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>blue <bpt i="1">&lt;b></bpt>shirt<ept i="1">&lt;/b></ept></seg></tuv>
  <tuv xml:lang="zh"><seg>蓝<hi>衬衫</hi><ph>&lt;br/></ph></seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>hello <ph x="1"/></seg></tuv><tuv xml:lang="zh"><seg>你好</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>no Chinese</seg></tuv><tuv xml:lang="fr"><seg>sans chinois</seg></tuv></tu>
</body></tmx>
"""


@pytest.mark.parametrize(
    ("name", "content", "left_out"),
    [
        (
            "memory.tmx",
            NAMESPACED,
            ", 1 with inline codes that are not tags, 1 without both languages",
        ),
        ("memory.csv", 'red shoes,红鞋\n   \n" ",\t\nblue shirt,蓝衬衫\n\n', ", 2 that are blank rows"),
    ],
)
def test_what_is_no_pair_is_counted_and_the_rest_is_read(
    redis: RedisServer,
    warm: Warm,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    left_out: str,
) -> None:
    assert warm(name, content) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"stored 2 translations under {RELEASE}; left out: 0 that need no translation")
    assert shown.endswith(f"0 larger than YIWEN_REDIS_MAX_VALUE_BYTES{left_out}\n")


@pytest.mark.parametrize(
    ("text", "translation"),
    [
        ("Red shoes. Blue hat.", "红鞋和蓝帽。"),
        ("Red shoes. 12.", "红鞋。 13."),
        ("Order SKU-48213. Blue hat.", "蓝帽。 订单SKU-48213。"),
        ("Red shoes. Blue hat.", "红鞋。 Blue hat, untranslated by anybody."),
        (f"Red. {'Long and longer sentence ' * 20}.", f"{'很长的句子' * 20}。 红。"),
    ],
)
def test_sentences_that_may_be_anothers_are_left_out(
    redis: RedisServer, warm: Warm, capsys: pytest.CaptureFixture[str], text: str, translation: str
) -> None:
    assert warm("memory.tsv", f"{text}\t{translation}\n") == 0
    assert "stored 0 translations" in capsys.readouterr().out
    assert redis.command("DBSIZE") == b":0\r\n"


def test_a_release_with_a_glossary_is_warmed_under_its_keys(
    redis: RedisServer, tmp_path: Path, warm: Warm, capsys: pytest.CaptureFixture[str]
) -> None:
    own = write_release(tmp_path / "own", release_id=OTHER)
    glossary = {"schema": 1, "pairs": [{"source": "en", "target": "zh", "terms": {"shoes": "跑鞋"}}]}
    (own / "glossary.json").write_text(json.dumps(glossary), encoding="utf-8")
    assert warm("memory.tsv", "red shoes\t红跑鞋\n", "--release", str(own)) == 0
    capsys.readouterr()
    with serve(StandIn()) as predictor:
        predictor.release = OTHER
        settings = {"YIWEN_REDIS_URL": redis.url}
        with running_transformer(own, predictor.url, settings=settings) as served:
            assert main(["translate", "--to", "zh", "--url", served.url, "--json", "red shoes"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["translation"], answer["cache"]) == ("红跑鞋", "hit")


def test_stats_count_by_release_and_flush_removes_one(
    redis: RedisServer, warm: Warm, capsys: pytest.CaptureFixture[str]
) -> None:
    warm("memory.tsv", "".join(f"text {number} x\t文 {number}\n" for number in range(700)))
    for number in range(3):
        redis.command("SET", f"yiwen:{OTHER}:{number}", "12345")
    redis.command("SET", "not ours", "x")
    capsys.readouterr()
    assert main(["cache", "stats"]) == 0
    _, ours, others = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ours[:2] == [RELEASE, "700"]
    assert others == [OTHER, "3", "15"]
    assert main(["cache", "stats", "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [document["release"] for document in documents] == [RELEASE, OTHER]
    assert documents[1] == {"release": OTHER, "entries": 3, "value_bytes": 15}
    assert main(["cache", "flush", "--release-id", RELEASE]) == 0
    assert capsys.readouterr().out == f"removed 700 entries of {RELEASE}\n"
    assert redis.command("DBSIZE") == b":4\r\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("memory.tsv", "red shoes\n", "line 1: a text and its translation"),
        ("memory.txt", "red shoes\t红鞋\n", "say --format"),
        ("memory.tmx", "<tmx><body>", "cannot be read"),
        ("memory.tmx", "<html><body/></html>", "is not TMX: its first element is html"),
        ("memory.csv", "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"), "line 1"),
    ],
)
def test_a_file_that_is_no_memory_is_one_line(
    redis: RedisServer, warm: Warm, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    assert warm(name, content) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert redis.command("DBSIZE") == b":0\r\n"


def test_a_language_the_release_does_not_speak_is_one_line(
    redis: RedisServer, warm: Warm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert warm("memory.tsv", "red shoes\tchaussures\n", target="fr") == 1
    assert "fr" in capsys.readouterr().err


def test_without_a_redis_the_command_says_what_to_do(
    redis: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.stop()
    assert main(["cache", "stats"]) == 2
    assert capsys.readouterr().err == "yiwen cache: Redis: it cannot be reached: check YIWEN_REDIS_URL\n"
    monkeypatch.delenv("YIWEN_REDIS_URL")
    assert main(["cache", "stats"]) == 2
    assert "YIWEN_REDIS_URL is not set" in capsys.readouterr().err
    monkeypatch.setenv("YIWEN_REDIS_URL", "redis://:geheim@localhost")
    assert main(["cache", "stats"]) == 2
    assert "geheim" not in capsys.readouterr().err


def test_flush_takes_an_id_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "flush", "--release-id", "*"]) == 2
    assert "16 hex digits" in capsys.readouterr().err
