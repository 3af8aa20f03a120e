from __future__ import annotations

from pathlib import Path

import pytest

from serving.model_init import POLL_S, WAIT_S, wait_for_model


class Clock:
    """Time that passes while somebody sleeps; after some of it the model is there."""

    def __init__(self, link: Path, model: Path, linked_after_s: float) -> None:
        self.now = 0.0
        self._link, self._model, self._linked_after_s = link, model, linked_after_s

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self._linked_after_s and not self._link.is_symlink():
            self._link.symlink_to(self._model)


@pytest.mark.parametrize(
    ("mode", "linked_after_s", "waited_s"),
    [("async", 3.0, 3.0), ("async", WAIT_S * 2, WAIT_S), ("sync", 3.0, 0.0), (None, 3.0, 0.0)],
)
def test_a_model_that_comes_later_is_waited_for(
    tmp_path: Path, mode: str | None, linked_after_s: float, waited_s: float
) -> None:
    model = tmp_path / "proc-7-root-models"
    model.mkdir()
    (model / "release.json").write_text("{}")
    clock = Clock(tmp_path / "models", model, linked_after_s)
    environ = {} if mode is None else {"MODEL_INIT_MODE": mode}
    wait_for_model(tmp_path / "models", environ, clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(waited_s, abs=2 * POLL_S)
    assert (tmp_path / "models").exists() == (waited_s == linked_after_s)


def test_a_model_that_is_there_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text("{}")
    clock = Clock(tmp_path / "link", tmp_path, 0.0)
    wait_for_model(tmp_path, {"MODEL_INIT_MODE": "async"}, clock=clock, sleep=clock.sleep)
    assert clock.now == 0.0
