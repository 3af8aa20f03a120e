"""The directory that a checkpoint is read from: a Hugging Face one as it is, or what is made of a GGUF file.

Of a GGUF file that is a temporary directory with ``config.json``, the tokenizer's files and a link to the file, which
its tensors are read from.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predictor.builder.checkpoint.directory import check_no_pointer, gguf_in
from predictor.builder.checkpoint.gguf_families import gguf_config
from predictor.builder.checkpoint.gguf_file import GgufFile, read_gguf
from predictor.builder.checkpoint.tensors import INDEX_FILE, SINGLE_FILE
from predictor.builder.errors import BrokenText
from predictor.builder.release.gguf_tokenizer import check_same_tokens, tokenizer_of_gguf
from predictor.builder.release.sentencepiece_tokenizer import SENTENCEPIECE_FILE
from predictor.builder.release.text_files import OPTIONAL_FILES, load_tokenizer
from protocol.glossary import GLOSSARY_FILE
from protocol.release import TOKENIZER_FILE, TRANSLATION_FILE

_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
"""Fields of tokenizer_config.json, and the names of their ids in the metadata."""


@contextmanager
def checkpoint_directory(
    checkpoint: Path, tokenizer: Path | None = None, *, with_tokenizer: bool = True
) -> Iterator[Path]:
    """The directory to read a checkpoint from; one that was made ends with the block.

    Args:
        checkpoint: as the command line has it: a directory, or a GGUF file.
        tokenizer: of a GGUF file: the model's ``tokenizer.json`` or ``tokenizer.model``, or its directory; None takes
            the file's own.
        with_tokenizer: whether the tokenizer is wanted.

    Raises:
        BuildError: the GGUF file is broken or of an architecture that is not read, or its tokenizer is.
    """
    path = _gguf(checkpoint)
    if path is None:
        if tokenizer is not None:
            raise BrokenText(f"--tokenizer is for GGUF files; {checkpoint} has its own")
        yield checkpoint
        return
    check_no_pointer(path)
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / checkpoint.name  # messages name it
        directory.mkdir()
        file = read_gguf(path)
        (directory / "config.json").write_text(json.dumps(gguf_config(file), indent=1), encoding="utf-8")
        (directory / "model.gguf").symlink_to(path.absolute())
        if with_tokenizer:
            _write_text_files(directory, file, tokenizer, checkpoint if checkpoint.is_dir() else None)
        yield directory


def _gguf(checkpoint: Path) -> Path | None:
    """The GGUF file that is meant, if one is."""
    if checkpoint.is_file():
        return checkpoint if checkpoint.suffix == ".gguf" else None
    if not checkpoint.is_dir() or any((checkpoint / name).exists() for name in (SINGLE_FILE, INDEX_FILE)):
        return None
    return gguf_in(checkpoint)


def _write_text_files(directory: Path, file: GgufFile, given: Path | None, beside: Path | None) -> None:
    """Write the tokenizer's files, and copy what lies beside a given tokenizer, or beside the GGUF file.

    Args:
        directory: to write into.
        file: with the model.
        given: a ``tokenizer.json`` or ``tokenizer.model``, or its directory; None if none is given.
        beside: the directory that was given in place of the GGUF file; None if the file itself was.
    """
    path = _tokenizer_file(given, beside)
    if path is None:
        tokenizer_of_gguf(file).save(str(directory / TOKENIZER_FILE))
    else:
        read = load_tokenizer(path)
        check_same_tokens(read, path, file)
        if path.exists():
            shutil.copyfile(path, directory / TOKENIZER_FILE)
        else:
            read.save(str(directory / TOKENIZER_FILE))
    folders = [folder for folder in (beside, None if path is None else path.parent) if folder is not None]
    for name in (*OPTIONAL_FILES, "generation_config.json", TRANSLATION_FILE, GLOSSARY_FILE):
        for folder in folders:
            if (folder / name).exists():
                shutil.copyfile(folder / name, directory / name)
    _write_settings(directory, file)


def _tokenizer_file(given: Path | None, beside: Path | None) -> Path | None:
    """The ``tokenizer.json`` to read; where it is missing, a ``tokenizer.model`` is in its directory."""
    if given is None:
        path = None if beside is None else beside / TOKENIZER_FILE
        return path if path is not None and _is_readable(path) else None
    path = given / TOKENIZER_FILE if given.is_dir() else given
    if path.name == SENTENCEPIECE_FILE:
        path = path.with_name(TOKENIZER_FILE)
    if not _is_readable(path):
        raise BrokenText(
            f"{path} is missing: --tokenizer names a tokenizer.json or tokenizer.model, or the directory that has it"
        )
    return path


def _is_readable(path: Path) -> bool:
    return path.is_file() or (path.name == TOKENIZER_FILE and path.with_name(SENTENCEPIECE_FILE).is_file())


def _write_settings(directory: Path, file: GgufFile) -> None:
    """The chat template, and the names of special tokens that it uses, as far as no file tells them."""
    template = file.value("tokenizer.chat_template")
    if template is not None and not (directory / "chat_template.jinja").exists():
        (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    settings = directory / "tokenizer_config.json"
    if not settings.exists():
        tokens = file.value("tokenizer.ggml.tokens", [])
        ids = {field: file.value(f"tokenizer.ggml.{name}_token_id") for field, name in _TOKENS.items()}
        named = {field: tokens[at] for field, at in ids.items() if at is not None and at < len(tokens)}
        settings.write_text(json.dumps(named, ensure_ascii=False, indent=1), encoding="utf-8")
