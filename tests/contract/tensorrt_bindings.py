"""TensorRT's Python bindings as type stubs, made without TensorRT and without a GPU.

The wheels of the bindings are small, and pybind11 keeps every signature in them. All that stops their library from
being imported where libnvinfer is missing are its references to that; :func:`loosen` makes those weak, and a process
of its own imports the result (no function of it may be called) and writes down what is there.

    python -m tests.contract.tensorrt_bindings LIBRARY      prints the stub of a loosened library
"""

from __future__ import annotations

import importlib.util
import inspect
import keyword
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

LIBRARY = "tensorrt.so"
_DYNSYM, _DYNAMIC = 11, 6  # ELF section types
_NEEDED = 1  # tag in the dynamic section
_WEAK = 2  # binding of a symbol

CPP_NAMES = {"nvinfer1::ILogger::Severity": "ILogger.Severity", "nvonnxparser::IParserError": "ParserError"}
"""Types that were registered after the function that uses them: pybind11 spells those in C++."""

PLAIN = {
    "int": "int",
    "float": "float",
    "bool": "builtins.bool",
    "str": "str",
    "bytes": "bytes",
    "None": "None",
    "tuple": "tuple[int, ...]",
    "list": "list[int]",
    "List": "list",
    "typing.SupportsInt": "int",
    "typing.SupportsFloat": "float",
    "buffer": "typing_extensions.Buffer",
    "typing_extensions.Buffer": "typing_extensions.Buffer",
}


class Unreachable(Exception):
    """The package index has no such wheel for this Python, or does not answer."""


def make_stubs(requirement: str, cache: Path) -> Path:
    """Download a wheel of bindings and write ``tensorrt.pyi``; both are kept in ``cache``.

    Returns:
        The directory that holds the stub.

    Raises:
        Unreachable: the wheel cannot be had.
    """
    directory = (
        cache / f"{re.sub(r'[^0-9A-Za-z]+', '-', requirement).strip('-')}-{sys.implementation.cache_tag}"
    )
    stub = directory / "tensorrt.pyi"
    if stub.is_file():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(directory),
    ]
    pip = subprocess.run([*command, requirement], capture_output=True, text=True, check=False, timeout=150)
    if pip.returncode:
        raise Unreachable(
            f"{requirement}: {pip.stderr.strip().splitlines()[-1] if pip.stderr else 'pip failed'}"
        )
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(f"/{LIBRARY}"))
        library = directory / LIBRARY
        library.write_bytes(loosen(archive.read(member)))
    printed = subprocess.run(
        [sys.executable, "-m", __spec__.name if __spec__ else __name__, str(library)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    stub.write_text(printed.stdout, encoding="utf-8")
    return directory


def loosen(library: bytes) -> bytes:
    """A 64-bit little-endian ELF library that loads without NVIDIA's: what it lacks becomes null.

    Undefined symbols get weak binding; needed libraries named libnv* become one that is needed anyhow.
    """
    data = bytearray(library)
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + index * size) for index in range(count)]
    for _, kind, _, _, start, length, link, *_ in sections:
        if kind == _DYNSYM:
            for entry in range(start, start + length, 24):
                _, info, _, defined_in = struct.unpack_from("<IBBH", data, entry)
                if not defined_in:
                    data[entry + 4] = _WEAK << 4 | info & 15
        if kind == _DYNAMIC:
            names = sections[link][4]
            needed = [
                (entry + 8, value)
                for entry in range(start, start + length, 16)
                for tag, value in [struct.unpack_from("<qQ", data, entry)]
                if tag == _NEEDED
            ]
            theirs = [place for place, value in needed if data.startswith(b"libnv", names + value)]
            other = next(value for _, value in needed if not data.startswith(b"libnv", names + value))
            for place in theirs:
                struct.pack_into("<Q", data, place, other)
    return bytes(data)


def write_stub(module: ModuleType) -> Iterator[str]:
    """The lines of a module's stub."""
    yield "import builtins, typing, typing_extensions"
    yield "__version__: str"
    for name, value in sorted(vars(module).items()):
        if inspect.isclass(value) and value.__module__ == module.__name__:
            yield from _class(name, value, "")
        elif not name.startswith("_") and type(value).__module__ == module.__name__:
            yield f"{name}: {type(value).__qualname__}"


def _class(name: str, kind: type, indent: str) -> Iterator[str]:
    base = kind.__base__
    bases = f"({base.__qualname__})" if base is not None and base.__module__ == kind.__module__ else ""
    yield f"{indent}class {name}{bases}:"
    inner = indent + "    "
    yield f"{inner}..."
    members = vars(kind)
    if "buffer interface" in (kind.__doc__ or ""):
        yield f"{inner}def __buffer__(self, flags: int, /) -> memoryview: ..."
    for member, value in members.items():
        if inspect.isclass(value):
            yield from _class(member, value, inner)
        elif isinstance(value, property):
            yield from _property(member, value, inner)
        elif type(value).__module__ == kind.__module__:  # of an enumeration, or one of its values brought up
            yield f"{inner}{member}: typing.ClassVar[{type(value).__qualname__}]"
        elif callable(value) and member not in ("__eq__", "__ne__", "__hash__"):
            yield from _method(member, value.__doc__ or "", inner)


def _property(name: str, value: property, indent: str) -> Iterator[str]:
    readers = _signatures("", (value.fget and value.fget.__doc__) or "")
    writers = _signatures("", (value.fset and value.fset.__doc__) or "")
    if readers and not writers:
        yield f"{indent}@property"
        yield f"{indent}def {name}(self) -> {_result(readers[0][1])}: ..."
    elif readers:
        yield f"{indent}{name}: {_result(readers[0][1])}"
    elif writers:
        yield f"{indent}{name}: {_argument(writers[0][0][-1].partition(': ')[2])}"


def _method(name: str, doc: str, indent: str) -> Iterator[str]:
    signatures = _signatures(name, doc)
    for parameters, result in signatures:
        if len(signatures) > 1:
            yield f"{indent}@typing.overload"
        if not parameters or not parameters[0].startswith(("self", "arg0")):
            yield f"{indent}@staticmethod"
            listed = _parameters(parameters)
        else:
            listed = ["self", *_parameters(parameters[1:])]
        yield f"{indent}def {name}({', '.join(listed)}) -> {_result(result)}: ..."


def _signatures(name: str, doc: str) -> list[tuple[list[str], str]]:
    """What pybind11 wrote at the head of a docstring: parameters as text, and the result's type."""
    lines = [line.strip() for line in doc.strip().splitlines()]
    overloaded = len(lines) > 1 and lines[1] == "Overloaded function."
    pattern = re.compile(rf"{r'[0-9]+[.] ' if overloaded else ''}{re.escape(name)}\((.*)\) -> (.*)")
    found = [match for line in (lines if overloaded else lines[:1]) if (match := pattern.fullmatch(line))]
    return [(_split(match[1]), match[2]) for match in found]


def _split(parameters: str) -> list[str]:
    """At the commas that are not inside brackets."""
    parts, depth, start = [], 0, 0
    for index, sign in enumerate(parameters):
        depth += (sign in "[(<") - (sign in "])>")
        if sign == "," and not depth:
            parts.append(parameters[start:index].strip())
            start = index + 1
    return [*parts, parameters[start:].strip()] if parameters.strip() else []


def _parameters(texts: list[str]) -> list[str]:
    """As Python writes them; a default before a parameter without one, which only C++ has, is none."""
    said: list[str] = []
    optional = True
    for text in reversed(texts):
        name, _, rest = text.partition(": ")
        kind, _, default = rest.partition(" = ")
        if name == "/" or name.startswith("*"):
            said.append(name)
            continue
        optional = optional and bool(default)
        if re.fullmatch(r"arg\d+", name) or keyword.iskeyword(name):
            name = f"__{name}"  # pybind11 does not take it by name
        annotation = _argument(kind) + (" | None" if default == "None" else "")
        said.append(f"{name}: {annotation}{' = ...' if optional else ''}")
    return said[::-1]


def _argument(text: str) -> str:
    """A parameter's type; what cannot be said accepts anything. Dims are taken as plain sequences too."""
    known = _type(text)
    if known == "Dims":
        return "Dims | tuple[int, ...] | list[int]"
    return known or "typing.Any"


def _result(text: str) -> str:
    """A result's type; what cannot be said is an object, of which nothing can be used."""
    return _type(text) or "object"


def _type(text: str) -> str:
    words = re.split(r"([\[\], ]+)", text)
    said = []
    for word in words:
        if re.fullmatch(r"[\[\], ]*", word):
            said.append(word)
        elif word in PLAIN or word in CPP_NAMES:
            said.append(PLAIN.get(word) or CPP_NAMES[word])
        elif re.fullmatch(r"tensorrt[.][\w.]+", word):
            said.append(word.partition(".")[2].removeprefix("tensorrt."))
        else:
            return ""
    return "".join(said)


def _load(library: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tensorrt", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    print("\n".join(write_stub(_load(Path(sys.argv[1])))))
