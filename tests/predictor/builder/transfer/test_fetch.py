"""`yiwen release fetch` from a server that speaks the hubs' APIs, over connections that break."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from predictor.builder.errors import TransferFailed
from predictor.builder.progress import SilentReporter
from predictor.builder.transfer.download import RemoteRegion, download_all
from predictor.builder.transfer.fetch import FetchAccess, fetch, list_source
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.listing import needed_names
from tests.predictor.builder.checkpoints import build, shard
from tests.predictor.builder.transfer.cutting_proxy import cutting_proxy
from tests.predictor.builder.transfer.hub_server import COMMIT, HubServer, running_hub
from tests.predictor.builder.transfer.trees import tree
from tests.releases import write_checkpoint

TOKEN = "hf_secret"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, release: Path) -> Iterator[HubServer]:
    """A hub with a checkpoint in shards and things that no build needs, and with a release."""
    root = tmp_path_factory.mktemp("hub")
    model = write_checkpoint(root / "org" / "model", hidden=96)
    shard(model)
    (model / "onnx").mkdir()
    for name in ("README.md", "onnx/model.onnx", "consolidated.safetensors", ".gitattributes"):
        (model / name).write_text("not needed")
    (model / "LICENSE.txt").write_text("needed")
    shutil.copytree(release, root / "org" / "release")
    (root / "org" / "gguf").mkdir()
    (root / "org" / "gguf" / "model-q4.gguf").write_text("GGUF")
    with running_hub(HubServer(root)) as server:
        yield server


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "HF_TOKEN", "MODELSCOPE_ENDPOINT", "YIWEN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def run(source: str, directory: Path, *options: object) -> int:
    return main(["release", "fetch", source, str(directory), *map(str, options)])


def needed(model: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(model).items() if b"not needed" not in content}


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_what_is_fetched_from_a_hub_can_be_built(
    hub: HubServer, tmp_path: Path, scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"{scheme}://org/model", tmp_path / "model", "--endpoint", hub.url) == 0
    assert tree(tmp_path / "model") == needed(hub.root / "org" / "model")
    version = COMMIT if scheme == "hf" else "master"
    assert f"{scheme}://org/model@{version}" in capsys.readouterr().out
    build(tmp_path / "model", tmp_path / "release")


def test_a_revision_and_an_endpoint_of_the_environment(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    assert run("hf://org/model@refs/pr/1", tmp_path / "model") == 0
    assert run("hf://org/model@v2", tmp_path / "other") == 2
    assert "status 404" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_release_is_fetched_whole_and_checked(hub: HubServer, tmp_path: Path) -> None:
    for number, source in enumerate(("hf://org/release", "modelscope://org/release")):
        assert run(source, tmp_path / str(number), "--endpoint", hub.url) == 0
        assert tree(tmp_path / str(number)) == tree(hub.root / "org" / "release")
    assert main(["release", "verify", str(tmp_path / "0")]) == 0


def test_a_folder_of_a_web_server(hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{hub.url}/files/org/model", tmp_path / "model") == 0
    assert "only the size is checked of config.json" in capsys.readouterr().err
    wanted = needed(hub.root / "org" / "model")
    wanted.pop("LICENSE.txt")  # the server lists nothing
    assert tree(tmp_path / "model") == wanted
    assert run(f"{hub.url}/files/org/release/", tmp_path / "release") == 0
    assert main(["release", "verify", str(tmp_path / "release")]) == 0
    assert run(f"{hub.url}/files/org", tmp_path / "nothing") == 2
    assert "holds no checkpoint that can be built" in capsys.readouterr().err


def test_a_token_comes_from_a_file_and_goes_to_the_hub_alone(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "token", TOKEN)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert run("hf://org/model", tmp_path / "model", "--endpoint", hub.url) == 2
    assert "it asks for a token (--token-file)" in capsys.readouterr().err
    options = ("--endpoint", hub.url, "--token-file", tmp_path / "token")
    assert run("hf://org/model", tmp_path / "model", *options) == 0
    monkeypatch.setenv("YIWEN_TOKEN_FILE", str(tmp_path / "token"))
    assert run("modelscope://org/model", tmp_path / "other", "--endpoint", hub.url) == 0
    assert any("safetensors" in request for request in hub.requests)
    assert hub.leaked == []
    assert run("hf://org/model", tmp_path / "third", "--token-file", tmp_path / "missing") == 2
    assert "cannot be read" in capsys.readouterr().err


def fetched(hub: HubServer, source: str, target: Path, host: str | None = None) -> None:
    with TransferHttp(pause=lambda seconds: None) as http:
        access = FetchAccess(f"http://{host or hub.host}", None, None)
        fetch(http, list_source(http, source, access, {}), target, SilentReporter())


def test_a_connection_that_breaks_goes_on_where_it_broke(hub: HubServer, tmp_path: Path) -> None:
    hub.requests.clear()
    with cutting_proxy(hub.host, 30_000) as proxy:
        fetched(hub, "modelscope://org/release", tmp_path / "release", proxy.host)
        assert proxy.cuts > 3
    assert tree(tmp_path / "release") == tree(hub.root / "org" / "release")
    begun = [request for request in hub.requests if request.startswith("weights.bin bytes=")]
    assert len({request.split("=")[1].split("-")[0] for request in begun}) > 3


def test_an_interrupted_fetch_is_continued_and_a_changed_source_begins_anew(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "release"
    weights = hub.root / "org" / "release" / "weights.bin"
    good = weights.read_bytes()
    with TransferHttp(pause=lambda seconds: None) as http:
        listing = list_source(http, "hf://org/release", FetchAccess(hub.url, None, None), {})
        weights.write_bytes(good[:-9])
        with pytest.raises(TransferFailed, match=r"(has changed meanwhile|the server sent too little)"):
            fetch(http, listing, target, SilentReporter())
        weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(TransferFailed, match="does not have the content that sha256"):
            fetch(http, listing, target, SilentReporter())
        assert not target.exists()
        (part,) = tmp_path.iterdir()
        assert part.name.startswith(".release.building-")
        weights.write_bytes(good)
        hub.requests.clear()
        fetch(http, listing, target, SilentReporter())
    assert not any(request.startswith("decoder.onnx") for request in hub.requests)
    assert tree(target) == tree(hub.root / "org" / "release")
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_what_lay_on_the_disk_and_was_damaged_is_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    target = tmp_path / "model"
    with TransferHttp(pause=lambda seconds: None) as http:
        listing = list_source(http, "hf://org/model", FetchAccess(hub.url, None, None), {})
        (hub.root / "org" / "model" / "config.json").rename(hub.root / "config.json")
        try:
            with pytest.raises(TransferFailed, match="status 404"):
                fetch(http, listing, target, SilentReporter())
        finally:
            (hub.root / "config.json").rename(hub.root / "org" / "model" / "config.json")
        (part,) = tmp_path.iterdir()
        for path in part.glob("*.safetensors"):
            content = path.read_bytes()
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:] if content else content)
        fetch(http, listing, target, SilentReporter())
    assert tree(target) == needed(hub.root / "org" / "model")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("model", "is no source"),
        ("ftp://host/model", "is no source"),
        ("hf://model", "is no name on a hub"),
        ("hf://org/gguf", "its weights are GGUF"),
        ("hf://org/absent", "or there is no such thing"),
    ],
)
def test_sources_that_do_not_do_say_why(
    hub: HubServer, tmp_path: Path, source: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(source, tmp_path / "model", "--endpoint", hub.url) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_exists_is_left_alone(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("hf://org/model", tmp_path, "--endpoint", hub.url) == 2
    assert "exists: remove it, or name another directory" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a//evil", ".progress/evil", "a\\evil"])
def test_a_name_that_leads_out_of_the_directory_is_refused(hub: HubServer, tmp_path: Path, name: str) -> None:
    region = RemoteRegion(name, f"{hub.url}/files/org/model/config.json", 10, None)
    with TransferHttp() as http:
        with pytest.raises(TransferFailed, match="leads out of the directory"):
            download_all(http, [region], tmp_path, SilentReporter())
    assert list(tmp_path.iterdir()) == []


def test_names_that_a_build_needs() -> None:
    names = [
        "config.json",
        "model-00001-of-00002.safetensors",
        "tokenizer.json",
        "original/consolidated.00.pth",
    ]
    assert needed_names(names, "x") == ["config.json", "model-00001-of-00002.safetensors", "tokenizer.json"]
    slow = [
        "added_tokens.json",
        "config.json",
        "model.safetensors",
        "quantize_config.json",
        "tokenizer.model",
    ]
    assert needed_names(slow, "x") == slow
    assert needed_names([*slow, "tokenizer.json"], "x") == [*slow[:-1], "tokenizer.json"]
    adapter = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert needed_names(adapter, "x") == adapter[1:]
    for others, reason in (
        (["config.json", "pytorch_model.bin"], "can run code"),
        (["README.md", "model-Q8_0.gguf"], "GGUF: download one of these files"),
        (["7b/config.json", "7b/model.safetensors", "13b/config.json"], "in 13b and 7b"),
        (["README.md"], "are missing"),
    ):
        with pytest.raises(TransferFailed, match=reason):
            needed_names(others, "x")
