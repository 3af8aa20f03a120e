from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.dataset import DATASETS

from predictor.builder.errors import BrokenSet
from predictor.builder.evaluate.benchmark_sets import flores_texts
from predictor.builder.evaluate.language_match import match_language
from predictor.builder.evaluate.parallel_texts import ParallelText
from protocol.translation_spec import Language

ROOT = Path(__file__).parents[4]
LANGUAGES = {
    tag: Language(name=tag, prompt=tag, script=script)
    for tag, script in {
        "en": "Latn", "en-GB": "Latn", "zh": "Hans", "zh-TW": "Hant", "sr-Latn": "Latn", "ko": "Kore", "no": "Latn",
        "pt-BR": "Latn", "pt-PT": "Latn",
    }.items()
}  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "known"),
    [
        ("en", "en"), ("eng_Latn", "en"), ("en_US", "en"), ("en-gb", "en-GB"), ("en_AU", "en"),
        ("zho_Hans", "zh"), ("cmn_Hans", "zh"), ("zho_Hant", "zh-TW"), ("zh_TW", "zh-TW"), ("zh_CN", "zh"),
        ("kor_Hang", "ko"), ("nob_Latn", "no"), ("srp_Cyrl", None), ("srp_Latn", "sr-Latn"), ("fra_Latn", None),
        ("pt", "pt-BR"), ("pt_PT", "pt-PT"),
    ],
)  # fmt: skip
def test_tags_of_test_sets_mean_languages_of_a_release(tag: str, known: str | None) -> None:
    assert match_language(tag, LANGUAGES) == known


def test_flores_is_read_from_a_copy(tmp_path: Path) -> None:
    for split in ("dev", "devtest"):
        (tmp_path / split).mkdir()
        for code, lines in {
            "eng_Latn": "one\ntwo\n",
            "zho_Hans": "一\n二\n",
            "fra_Latn": "un\ndeux\n",
        }.items():
            (tmp_path / split / f"{code}.{split}").write_text(lines if split == "devtest" else "x\ny\n")
    texts = flores_texts(tmp_path, [("en", "zh"), ("zh", "en"), ("en", "ko")], LANGUAGES)
    assert texts == [
        ParallelText(("en", "zh"), "one", ("一",)),
        ParallelText(("en", "zh"), "two", ("二",)),
        ParallelText(("zh", "en"), "一", ("one",)),
        ParallelText(("zh", "en"), "二", ("two",)),
    ]


def test_flores_plus_is_read_from_json_lines(tmp_path: Path) -> None:
    for code, text in {"eng_Latn": "one", "cmn_Hans": "一"}.items():
        (tmp_path / f"{code}.jsonl").write_text(json.dumps({"id": 0, "text": text}) + "\n")
    assert flores_texts(tmp_path, [("en", "zh")], LANGUAGES) == [ParallelText(("en", "zh"), "one", ("一",))]


def test_a_copy_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenSet, match="no two languages"):
        flores_texts(tmp_path, [("en", "zh")], LANGUAGES)
    (tmp_path / "eng_Latn.jsonl").write_text("one\n")
    with pytest.raises(BrokenSet, match="not a file of FLORES"):
        flores_texts(tmp_path, [("en", "zh")], LANGUAGES)
    (tmp_path / "eng_Latn.jsonl").write_text('{"text": "one"}')
    (tmp_path / "zho_Hans.jsonl").write_text('{"text": "1"}\n{"text": "2"}')
    with pytest.raises(BrokenSet, match="different numbers of lines"):
        flores_texts(tmp_path, [("en", "zh")], LANGUAGES)


def sacrebleu_set(cache: Path, name: str, *options: str) -> str:
    """What `sacrebleu_texts` gives or raises with a cache of its own, which sacrebleu chooses on import."""
    program = (
        "import sys\n"
        "from predictor.builder.errors import BrokenSet\n"
        "from predictor.builder.evaluate.benchmark_sets import sacrebleu_texts\n"
        "from tests.predictor.builder.evaluate.test_benchmark_sets import LANGUAGES\n"
        "try: print(sacrebleu_texts(sys.argv[1], [('en', 'zh')], LANGUAGES, download='--download' in sys.argv))\n"
        "except BrokenSet as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, name, *options],
        cwd=ROOT, env={"SACREBLEU": str(cache), "PATH": "", "https_proxy": "http://127.0.0.1:9"},
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def test_sets_of_sacrebleu_come_from_its_cache_and_from_nowhere_else(tmp_path: Path) -> None:
    assert "run again with --download" in sacrebleu_set(tmp_path, "wmt20")
    assert "sacrebleu cannot provide wmt20" in sacrebleu_set(tmp_path, "wmt20", "--download")
    assert "no such file, and no set of sacrebleu's" in sacrebleu_set(tmp_path, "wmt1066")
    assert "run again with --download" in sacrebleu_set(tmp_path, "wmt20")
    texts = {"src": "one\ntwo\n", "ref": "一\n二\n"}
    for field in DATASETS["wmt20"].fieldnames("en-zh"):
        (tmp_path / "wmt20" / f"wmt20.en-zh.{field}").write_text(texts.get(field, "x\nx\n"))
    assert "text='two', references=('二',)" in sacrebleu_set(tmp_path, "wmt20")
