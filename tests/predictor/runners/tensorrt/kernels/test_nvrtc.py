from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from predictor.errors import StartupError
from predictor.runners.tensorrt.kernels.launch import programs
from predictor.runners.tensorrt.kernels.nvrtc import Compiler, Program, cache_key
from predictor.runners.tensorrt.kernels.shape import KernelShape

PROGRAM = Program(
    "scale.cu",
    '#include "by.h"\nextern "C" __global__ void scale(float* x) { *x *= BY; }',
    {
        "by.h": "#define BY FACTOR",
    },
    ("-DFACTOR=2",),
)
HOPPER = (9, 0)


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    try:
        return Compiler(HOPPER, tmp_path / "cache")
    except StartupError as error:
        pytest.skip(str(error))


def test_everything_that_matters_is_in_the_name() -> None:
    changes = [
        dataclasses.replace(PROGRAM, source="x"),
        dataclasses.replace(PROGRAM, headers={"by.h": "x"}),
        dataclasses.replace(PROGRAM, options=("-DFACTOR=3",)),
    ]
    keys = [cache_key(program, "12.9", "sm_90") for program in (PROGRAM, *changes)]
    keys += [cache_key(PROGRAM, "13.0", "sm_90"), cache_key(PROGRAM, "12.9", "sm_80")]
    assert len(set(keys)) == len(keys)
    assert keys[0] == cache_key(dataclasses.replace(PROGRAM, name="other.cu"), "12.9", "sm_90")


def test_a_program_is_compiled_once(compiler: Compiler, tmp_path: Path) -> None:
    cubin = compiler.compile(PROGRAM)
    assert cubin.startswith(b"\x7fELF")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(b"kept")
    assert Compiler(HOPPER, tmp_path / "cache").compile(PROGRAM) == b"kept"


def test_an_error_carries_the_compilers_words(compiler: Compiler) -> None:
    with pytest.raises(StartupError, match=r'scale\.cu.*"nonsense" is undefined'):
        compiler.compile(dataclasses.replace(PROGRAM, options=("-DFACTOR=nonsense",)))


def test_an_unwritable_cache_is_said_once(
    compiler: Compiler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    with caplog.at_level(logging.WARNING):
        for factor in (5, 6):
            assert compiler.compile(dataclasses.replace(PROGRAM, options=(f"-DFACTOR={factor}",)))
    assert [record.message.count("YIWEN_CACHE_DIR") for record in caplog.records] == [1]


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("capability", [(8, 0), HOPPER])
@pytest.mark.parametrize(
    "model", [(32, 32, 128), (28, 4, 128), (8, 2, 32), (16, 1, 256), (8, 8, 80)], ids=str
)
def test_the_kernels_compile(
    compiler: Compiler, capability: tuple[int, int], model: tuple[int, int, int], overlaps: bool
) -> None:
    shape = KernelShape(*model, hidden=64, vocabulary=1000, candidates=32, capacity=128)
    for program in programs(shape, overlaps=overlaps):
        assert Compiler(capability, None).compile(program).startswith(b"\x7fELF")
