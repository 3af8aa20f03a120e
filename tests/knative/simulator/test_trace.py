"""Arrivals that are drawn, access logs that are read, and what is wrong with those that are not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from knative.simulator.errors import SimulationError
from knative.simulator.load.arrivals import generate_arrivals, is_spec
from knative.simulator.load.trace import Trace, read_trace
from knative.simulator.load.workload import CacheModel, Traffic, Workload, draw_workload, warm_keys


def rate(trace: Trace, start: float, end: float) -> float:
    return float(((trace.times >= start) & (trace.times < end)).sum() / (end - start))


def test_a_poisson_process_has_its_rate_and_its_spread() -> None:
    trace = generate_arrivals("poisson:rate=500,seconds=100", seed=1)
    assert trace.seconds == 100
    assert rate(trace, 0, 100) == pytest.approx(500, rel=0.03)
    gaps = np.diff(trace.times)
    assert (gaps >= 0).all()
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as an exponential distribution has it


def test_steady_arrivals_are_evenly_spaced() -> None:
    trace = generate_arrivals("steady:rate=4,seconds=2", seed=1)
    assert trace.times.tolist() == [0.125, 0.375, 0.625, 0.875, 1.125, 1.375, 1.625, 1.875]


def test_a_step_changes_the_rate_at_its_time() -> None:
    trace = generate_arrivals("step:from=200,to=1500,at=60,seconds=120", seed=1)
    assert rate(trace, 0, 60) == pytest.approx(200, rel=0.05)
    assert rate(trace, 60, 120) == pytest.approx(1500, rel=0.03)


def test_bursts_come_every_so_often() -> None:
    trace = generate_arrivals("bursts:rate=10,burst=1000,every=30,for=5,seconds=70", seed=1)
    assert rate(trace, 30, 35) == pytest.approx(1000, rel=0.1)
    assert rate(trace, 60, 65) == pytest.approx(1000, rel=0.1)
    assert rate(trace, 0, 30) + rate(trace, 35, 60) < 40


def test_a_day_is_lowest_at_its_start_and_highest_in_its_middle() -> None:
    trace = generate_arrivals("diurnal:low=10,high=110,period=1000,seconds=1000", seed=1)
    assert rate(trace, 0, 50) == pytest.approx(11, abs=3)
    assert rate(trace, 475, 525) == pytest.approx(110, rel=0.1)
    assert rate(trace, 0, 1000) == pytest.approx(60, rel=0.03)


def test_a_seed_decides_everything() -> None:
    one, same, other = (generate_arrivals("poisson:rate=50,seconds=10", seed) for seed in (7, 7, 8))
    assert one.times.tolist() == same.times.tolist()
    assert one.times.tolist() != other.times.tolist()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("waves:rate=1", "neither a file nor a kind of arrivals: poisson, steady"),
        ("poisson:rate=1", "poisson needs seconds: write poisson:rate=N,seconds=N"),
        ("poisson:rate=fast,seconds=1", "rate must be a number"),
        ("poisson:rate=-1,seconds=1", "rate must be a finite number of at least 0"),
        ("poisson:rate=1,seconds=0", "seconds must be above 0"),
        ("poisson:rate=1,seconds=1,rates=2", "poisson has no parameter rates"),
        ("poisson:rate=1e9,seconds=100", "20,000,000 are the most"),
        ("step:from=1,to=2,at=9,seconds=5", "at=9 must not be after the end"),
        ("poisson:rate=1,rate=2,seconds=5", "poisson: rate is given twice"),
        ("poisson:rate=0.001,seconds=3600000", r"lasts 3,600,000 seconds.*are these milliseconds\?"),
        ("diurnal:low=0,high=0,seconds=1e15", r"are these milliseconds\?"),
        (
            "bursts:rate=0,burst=0,every=1e-3,for=1e-4,seconds=86400",
            "1,000,000 bursts are the most: raise every",
        ),
        ("bursts:rate=1,burst=2,every=5,for=5,seconds=50", "for must be above 0 and below every"),
    ],
)
def test_a_line_that_makes_no_sense_says_what_would(spec: str, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        generate_arrivals(spec, seed=0)


def test_a_file_is_no_kind_of_arrivals() -> None:
    assert is_spec("poisson:rate=1,seconds=1")
    assert not is_spec("poisson.csv")


def log(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_log_tells_times_lengths_and_equal_texts(tmp_path: Path) -> None:
    trace = read_trace(log(tmp_path, "time,chars,key\n100.5,12,aa\n100.5,30,bb\n160.5,12,aa\n"))
    assert trace.times.tolist() == [0.0, 0.0, 60.0]
    assert trace.chars is not None
    assert trace.chars.tolist() == [12, 30, 12]
    assert trace.keys is not None
    assert trace.keys[0] == trace.keys[2] != trace.keys[1]


def test_times_may_be_iso_8601_and_without_a_zone_they_are_utc(tmp_path: Path) -> None:
    text = "time\n2026-01-31T12:00:00Z\n2026-01-31T12:00:01.500\n2026-01-31T13:00:02+01:00\n"
    assert read_trace(log(tmp_path, text)).times.tolist() == [0.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time\n5\n4\n", "line 3: the time is before that of the line above: sort the file by time"),
        ("time\n-1\n4\n", "line 2: the time is negative"),
        ("time\nsoon\n", "line 2: time must be seconds or ISO 8601"),
        ("time\ninf\n", "line 2: time must be a finite number"),
        ("time\n", "holds no request"),
        ("when\n1\n", "unknown column when"),
        ("chars\n1\n", "no column time"),
        ("time,chars\n1,2\n3\n", "line 3: 1 cells, the header has 2"),
        ("time,chars\n1,0\n", "line 2: chars must be at least 1"),
        ("time,chars\n1,many\n", "line 2: chars must be a whole number"),
        ("time,chars\n1,5.7\n", "line 2: chars must be a whole number"),
        ("time,chars\n1,inf\n", "line 2: chars must be a whole number"),
        ("time,chars\n1,99999999999999999999999\n", "line 2: chars must be at most 1,000,000,000"),
        ("time,chars,Chars\n1,2,3\n", "the column chars more than once: drop or rename"),
        ("", "is empty: write a header"),
        ("time\n0\n3600000\n", r"lasts 3,600,000 seconds.*are these milliseconds\?"),
        ("time\n1767225600000\n1767225601000\n", r"line 2: .*are these milliseconds\?"),
    ],
)
def test_a_log_that_breaks_a_rule_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        read_trace(log(tmp_path, text))


def test_no_log_names_the_other_way(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(SimulationError, match="does not exist: give a file, or arrivals such as poisson"):
            read_trace(tmp_path / name)


def test_whole_numbers_may_have_a_point(tmp_path: Path) -> None:
    trace = read_trace(log(tmp_path, "time,chars\n0,12.0\n1,30\n"))
    assert trace.chars is not None
    assert trace.chars.tolist() == [12, 30]


def test_a_log_of_one_instant_lasts_a_second(tmp_path: Path) -> None:
    assert read_trace(log(tmp_path, "time\n7\n7\n7\n")).seconds == 1.0


def parquet(tmp_path: Path, **columns: list[float]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(pyarrow.table(columns), tmp_path / "log.parquet")
    return tmp_path / "log.parquet"


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    trace = read_trace(parquet(tmp_path, time=[5.0, 6.5], chars=[12.0, 30.0], key=[1, 1]))
    assert trace.times.tolist() == [0.0, 1.5]
    assert trace.chars is not None
    assert trace.chars.tolist() == [12, 30]
    assert trace.keys is not None
    assert trace.keys[0] == trace.keys[1]


@pytest.mark.parametrize("wrong", [5.7, float("inf"), float("nan")])
def test_parquet_breaks_the_rules_that_csv_does(tmp_path: Path, wrong: float) -> None:
    with pytest.raises(SimulationError, match="line 2: chars must be a whole number"):
        read_trace(parquet(tmp_path, time=[5.0], chars=[wrong]))


def test_a_file_that_is_not_parquet_is_said_to_be_unreadable(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "log.parquet").write_text("time\n1\n", encoding="utf-8")
    with pytest.raises(SimulationError, match=r"log\.parquet cannot be read: "):
        read_trace(tmp_path / "log.parquet")


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "log.parquet").touch()
    with pytest.raises(SimulationError, match=r"pip install '\.\[parquet\]'"):
        read_trace(tmp_path / "log.parquet")


def workload_of(cache: CacheModel, traffic: Traffic | None = None, seconds: int = 200) -> Workload:
    trace = generate_arrivals(f"poisson:rate=100,seconds={seconds}", seed=3)
    return draw_workload(trace, traffic or Traffic(), cache, max_sequence_tokens=256, seed=3)


def test_lengths_follow_the_traffic() -> None:
    workload = workload_of(CacheModel(), Traffic(chars=100, spread=0.5, new_tokens_per_char=0.2))
    assert workload.chars.mean() == pytest.approx(100, rel=0.02)
    assert workload.chars.std() == pytest.approx(50, rel=0.05)
    assert workload.new_tokens.mean() == pytest.approx(1.5 + 20, rel=0.03)
    assert (workload.too_long == (workload.prompt_tokens + workload.new_tokens > 256)).all()
    assert (workload.reserved_tokens <= 256).all()


def test_a_text_longer_than_a_slot_is_marked_and_not_cut() -> None:
    trace = Trace(
        times=np.zeros(3),
        seconds=1.0,
        prompt_tokens=np.array([100, 156, 157]),
        new_tokens=np.array([100] * 3),
    )
    workload = draw_workload(trace, Traffic(), CacheModel(), max_sequence_tokens=256, seed=0)
    assert workload.new_tokens.tolist() == [100] * 3
    assert workload.too_long.tolist() == [False, False, True]


def test_a_rate_makes_so_many_hits_and_nothing_else() -> None:
    workload = workload_of(CacheModel(kind="rate", rate=0.35))
    assert (workload.keys == -2).mean() == pytest.approx(0.35, abs=0.02)


def test_zipf_weighs_texts_by_rank() -> None:
    keys = workload_of(CacheModel(kind="zipf", texts=1000, exponent=1.0)).keys
    first, tenth = (keys == 0).sum(), (keys == 9).sum()
    assert first / tenth == pytest.approx(10, rel=0.35)
    assert keys.max() < 1000


def test_a_warm_cache_holds_the_most_frequent_texts() -> None:
    cache = CacheModel(kind="zipf", texts=1000, exponent=1.0, warm=0.5)
    workload = workload_of(cache)
    warm = warm_keys(workload, cache)
    assert np.isin(workload.keys, warm).mean() == pytest.approx(0.5, abs=0.02)
    assert 0 in warm


def test_keys_need_a_log_that_has_them() -> None:
    with pytest.raises(SimulationError, match="add a column key"):
        workload_of(CacheModel(kind="keys"))


@pytest.mark.parametrize("wrong", [{"rate": 1.5}, {"kind": "lru"}, {"ttl_s": 0.0}, {"texts": 0}])
def test_an_impossible_cache_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SimulationError, match="cache: "):
        CacheModel(**wrong)  # type: ignore[arg-type]
