"""Which texts a correction is served for."""

from __future__ import annotations

from pathlib import Path

from protocol.messages import Formality
from transformer.suggestions.corrections import CorrectionRefresh, CorrectionTable
from transformer.suggestions.store import DirectorySuggestions
from transformer.suggestions.suggestion import Correction
from transformer.texts.terms import Term
from transformer.texts.work_item import WorkItem

PLAIN = WorkItem("red shoes", "en", "zh")
CORRECTION = Correction("red shoes", "红鞋", "en", "zh")


def table() -> CorrectionTable:
    made = CorrectionTable()
    made.replace([CORRECTION])
    return made


def test_a_correction_is_for_its_text_and_languages() -> None:
    others = [WorkItem("red shoe", "en", "zh"), WorkItem("red shoes", "en", "fr")]
    assert {item: found.text for item, found in table().find([PLAIN, *others]).items()} == {PLAIN: "红鞋"}


def test_an_answer_that_is_asked_for_in_another_way_is_not_corrected() -> None:
    limited = WorkItem("red shoes", "en", "zh", options=(("max_new_tokens", "2"),))
    formal = WorkItem("red shoes", "en", "zh", formality=Formality.MORE)
    assert table().find([limited, formal]) == {}


def test_a_glossary_wins_over_a_correction_that_does_not_keep_to_it() -> None:
    def item(wanted: str) -> WorkItem:
        return WorkItem("red shoes", "en", "zh", (Term(4, 9, "shoes", wanted),))

    assert table().find([item("运动鞋")]) == {}
    assert list(table().find([item("鞋")])) == [item("鞋")]


async def test_a_file_that_is_broken_leaves_what_was_read_before(tmp_path: Path) -> None:
    store, served = DirectorySuggestions(tmp_path), CorrectionTable()
    refresh = CorrectionRefresh(store, served)
    await store.add_corrections([CORRECTION])
    await refresh.refresh()
    (tmp_path / "corrections.json").write_text('{"corrections": [{"text": 1}]}')
    await refresh.refresh()
    assert list(served.find([PLAIN])) == [PLAIN]
    (tmp_path / "corrections.json").unlink()
    await refresh.refresh()
    assert served.find([PLAIN]) == {}
