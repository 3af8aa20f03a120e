from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from predictor.plan import OptimizationProfile
from predictor.runners.tensorrt.kernels.launch import BoundKernel
from predictor.runners.tensorrt.step.linears import Linears
from predictor.runners.tensorrt.step.weights import LinearWeights

STREAM = 77
SCRATCH = (4096, 512)
PROFILES = (OptimizationProfile(1, 8, 8), OptimizationProfile(9, 32, 32))


class FakeContext:
    """Writes down what it is told; refuses to run with a shape or an address missing, as TensorRT does."""

    def __init__(self, calls: list[tuple[object, ...]], number: int) -> None:
        self._calls = calls
        self._number = number
        self._told: dict[str, object] = {}

    def set_memory(self, address: int, nbytes: int) -> None:
        assert (address, nbytes) == SCRATCH
        self._told["memory"] = address

    def set_profile(self, index: int, stream: int) -> None:
        assert stream == STREAM
        self._calls.append((self._number, "profile", index))
        self._told["profile"] = index

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        least, _, most = PROFILES[int(str(self._told["profile"]))]
        assert least <= shape[0] <= most
        self._calls.append((self._number, "shape", name, tuple(shape)))
        self._told["shape"] = tuple(shape)

    def set_address(self, name: str, address: int) -> None:
        self._calls.append((self._number, name, address))
        self._told[name] = address

    def enqueue(self, stream: int) -> None:
        assert stream == STREAM
        assert self._told.keys() == {"memory", "profile", "shape", "x", "weight", "y"}
        self._calls.append((self._number, "run", self._told["weight"]))


class FakeEngine:
    memory_bytes = 512

    def __init__(self, calls: list[tuple[object, ...]], first: int) -> None:
        self._calls = calls
        self._next = first

    def create_context(self) -> FakeContext:
        self._next += 1
        return FakeContext(self._calls, self._next - 1)


@pytest.fixture
def calls() -> list[tuple[object, ...]]:
    return []


@pytest.fixture
def linears(calls: list[tuple[object, ...]]) -> Linears:
    engines = {"down.float16": FakeEngine(calls, 0), "qkv.float16": FakeEngine(calls, 10)}
    profiles = dict.fromkeys(engines, PROFILES)
    return Linears(engines, profiles, scratch=SCRATCH[0], scratch_bytes=SCRATCH[1], stream=STREAM)


def weights(address: int, engine: str = "down.float16") -> LinearWeights:
    return LinearWeights(engine, "float16", 4096, 64, address, bias=0, input_scale=0, output_scale=0)


def test_between_two_layers_only_the_weight_is_set(linears: Linears, calls: list[tuple[object, ...]]) -> None:
    linears.run(weights(100), 5, 11, 22, graph=None)
    calls.clear()
    linears.run(weights(200), 5, 11, 22, graph=None)
    assert calls == [(0, "weight", 200), (0, "run", 200)]
    calls.clear()
    linears.run(weights(200), 6, 11, 22, graph=None)
    assert calls == [(0, "shape", "x", (6, 64)), (0, "run", 200)]


def test_each_engine_profile_and_graph_has_a_context_of_its_own(
    linears: Linears, calls: list[tuple[object, ...]]
) -> None:
    for rows, graph in ((8, None), (9, None), (8, 8), (4, 4), (32, None)):
        linears.run(weights(100), rows, 11, 22, graph=graph)
    linears.run(weights(300, "qkv.float16"), 8, 11, 22, graph=8)
    ran = [number for number, *call in calls if call[0] == "run"]
    assert ran == [0, 1, 2, 3, 1, 10]
    assert [call for call in calls if call[1] == "profile"] == [
        (0, "profile", 0),
        (1, "profile", 1),
        (2, "profile", 0),
        (3, "profile", 0),
        (10, "profile", 0),
    ]


def test_operands_may_move(linears: Linears, calls: list[tuple[object, ...]]) -> None:
    linears.run(weights(100), 8, 11, 22, graph=None)
    calls.clear()
    linears.run(weights(100), 8, 33, 22, graph=None)
    linears.run(weights(100), 8, 33, 44, graph=None)
    assert calls == [(0, "x", 33), (0, "run", 100), (0, "y", 44), (0, "run", 100)]


def test_more_rows_than_any_profile_holds_are_refused(linears: Linears) -> None:
    with pytest.raises(ValueError, match="33"):
        linears.run(weights(100), 33, 11, 22, graph=None)


class FakeFewRows:
    def __init__(self, calls: list[tuple[object, ...]]) -> None:
        self._calls = calls

    def bind(self, *, x: int, weight: int, y: int, n: int, k: int, dtype: str) -> BoundKernel:
        self._calls.append(("bind", x, weight, y, n, k, dtype))
        return lambda rows, stream: self._calls.append(("few rows", weight, rows, stream))


def test_few_rows_are_our_kernels_and_bound_once(calls: list[tuple[object, ...]]) -> None:
    engines = {"down.float16": FakeEngine(calls, 0)}
    linears = Linears(
        engines,
        dict.fromkeys(engines, (*PROFILES, OptimizationProfile(33, 64, 64))),
        scratch=SCRATCH[0],
        scratch_bytes=SCRATCH[1],
        stream=STREAM,
        skinny=FakeFewRows(calls),
    )
    linears.run(weights(100), 8, 11, 22, graph=None)
    linears.run(weights(100), 32, 11, 22, graph=None)
    assert calls == [
        ("bind", 11, 100, 22, 4096, 64, "float16"),
        ("few rows", 100, 8, STREAM),
        ("few rows", 100, 32, STREAM),
    ]


def test_what_our_kernel_is_slower_at_or_cannot_do_is_tensorrts(calls: list[tuple[object, ...]]) -> None:
    engines = {"down.float16": FakeEngine(calls, 0)}
    linears = Linears(
        engines,
        dict.fromkeys(engines, PROFILES),
        scratch=SCRATCH[0],
        scratch_bytes=SCRATCH[1],
        stream=STREAM,
        skinny=FakeFewRows(calls),
    )
    wide = dataclasses.replace(weights(100), width=22016)
    linears.run(wide, 32, 11, 22, graph=None)
    odd = dataclasses.replace(weights(200), columns=72)
    linears.run(odd, 1, 11, 22, graph=None)
    assert [call[1:] for call in calls if call[1] == "run"] == [("run", 100), ("run", 200)]
