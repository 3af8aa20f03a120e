"""The commands that manifests run, run: the release Job's steps and Redis' start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from predictor.builder import commands
from predictor.builder.plan_commands import PlanOptions
from protocol.kubernetes.inference_service import pod_templates
from protocol.kubernetes.pods import PodTemplate
from tests.command_options import parse_options
from tests.inferenceservices.builds import documents_of
from tests.inferenceservices.redis_of_ours import RedisOfOurs, redis_of_ours
from tests.transformer.cache.test_redis_client import check_all_commands, make_certificate
from transformer.cache.redis_client import RedisStore, StoreError, StoreSettings
from transformer.redis_url import parse_redis_url

CHECKPOINT = Path(__file__).resolve().parents[2] / "examples" / "demo_model" / "checkpoint"
BIN = Path(sys.executable).parent


def _pod(name: str, kind: str) -> PodTemplate:
    (pod,) = (pod for pod in pod_templates(documents_of(name)) if pod.location.startswith(f"{kind}/"))
    return pod


def _command(container: dict[str, Any], replacements: dict[str, str]) -> list[str]:
    words = [*container["command"], *container.get("args", ())]
    for old, new in replacements.items():
        words = [word.replace(old, new) for word in words]
    return words


def _run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": environment.pop("home"),
        **environment,
    }
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume onto which a checkpoint was copied that has no translation.json, and a Job's ConfigMap."""
    shutil.copytree(CHECKPOINT, tmp_path / "models" / "incoming" / "demo")
    (tmp_path / "config").mkdir()
    shutil.move(tmp_path / "models/incoming/demo/translation.json", tmp_path / "config/translation.json")
    return tmp_path


def _steps(volume: Path, source: str = "", *, waiting_s: int = 1) -> dict[str, list[str]]:
    """The release Job's commands by container, on this machine's paths, with a fetcher that copies the demo."""
    fetcher = volume / "fetcher"
    fetcher.write_text(f'#!/bin/sh\nmkdir -p "$2" && cp -r "{CHECKPOINT}/." "$2"\n')
    fetcher.chmod(0o755)
    own = "file:///mnt/models/incoming/demo"
    paths = {
        own: source or own,
        "seq 60": f"seq {waiting_s}",
        "/mnt/models": str(volume / "models"),
        "/etc/yiwen": str(volume / "config"),
        "/storage-initializer/scripts/initializer-entrypoint": str(fetcher),
    }
    return {
        str(container["name"]): _command(dict(container), paths)
        for container in _pod("release-jobs/laptop", "Job").all_containers
    }


def test_the_release_job_builds_a_release_and_does_it_once(volume: Path) -> None:
    steps = _steps(volume)
    assert list(steps) == ["fetch", "build", "check"]
    for step in ("fetch", "build", "check"):
        done = _run(steps[step], home=str(volume))
        assert done.returncode == 0, done.stderr
    release = json.loads((volume / "models/releases/demo/release.json").read_text())
    assert (release["name"], release["precision"]) == ("demo", "float32")
    for step in ("fetch", "build"):
        done = _run(steps[step], home=str(volume))
        assert (done.returncode, done.stdout) == (0, "demo is built already\n")


def test_what_is_not_on_the_volume_is_fetched(volume: Path) -> None:
    shutil.rmtree(volume / "models" / "incoming")
    steps = _steps(volume, "hf://demo/demo")
    for step in ("fetch", "build", "check"):
        done = _run(steps[step], home=str(volume))
        assert done.returncode == 0, done.stderr
    assert (volume / "models/checkpoints/demo/config.json").exists()


def test_the_job_waits_for_a_checkpoint_that_comes(volume: Path) -> None:
    incoming = volume / "models" / "incoming" / "demo"
    incoming.rename(volume / "demo")
    fetch = _steps(volume, waiting_s=60)["fetch"]
    with subprocess.Popen(fetch, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout
        assert waiting.stdout.readline() == f"waiting for the directory {incoming}\n"
        (volume / "demo").rename(incoming)
        assert waiting.wait(timeout=30) == 0


def test_a_build_that_met_half_a_checkpoint_succeeds_when_it_is_whole(volume: Path) -> None:
    steps = _steps(volume)
    weights = volume / "models" / "incoming" / "demo" / "model.safetensors"
    whole = weights.read_bytes()
    for half in (None, whole[: len(whole) // 2]):
        weights.unlink()
        if half is not None:
            weights.write_bytes(half)
        assert _run(steps["fetch"], home=str(volume)).returncode == 0
        assert _run(steps["build"], home=str(volume)).returncode == 2
        weights.write_bytes(whole)
    # Kubernetes starts the step again that failed, not those before it.
    for step in ("build", "check"):
        done = _run(steps[step], home=str(volume))
        assert done.returncode == 0, done.stderr


def test_a_step_that_fails_fails_the_job(volume: Path) -> None:
    steps = _steps(volume)
    shutil.rmtree(volume / "models" / "incoming")
    done = _run(steps["fetch"], home=str(volume))
    assert done.returncode == 1
    assert "copy the checkpoint there, or correct the value `source`" in done.stderr
    done = _run(steps["build"], home=str(volume))
    assert done.returncode == 2
    assert not (volume / "models/releases/demo").exists()
    assert _run(steps["check"], home=str(volume)).returncode == 2


@pytest.mark.parametrize("overlay", ["production", "staging", "standard"])
def test_the_plan_step_has_the_predictors_gpu_resources(overlay: str) -> None:
    pod = _pod(f"release-jobs/{overlay}", "Job")
    (plan,) = pod.containers
    assert plan["command"][:2] == ["yiwen", "release"]
    parsed = parse_options(commands.app, PlanOptions, *plan["command"][2:])
    assert str(parsed.release) == "/mnt/models/releases/qwen3-1-7b"
    (predictor,) = (
        p for p in pod_templates(documents_of(f"overlays/{overlay}")) if p.location.endswith(" predictor")
    )
    assert plan["resources"] == predictor.containers[0]["resources"]
    assert pod.spec["affinity"]["nodeAffinity"] == predictor.spec["affinity"]["nodeAffinity"]
    assert pod.spec["tolerations"] == predictor.spec["tolerations"]


def test_a_predictor_verifies_the_release_that_it_serves(volume: Path) -> None:
    steps = _steps(volume)
    for step in ("fetch", "build"):
        assert _run(steps[step], home=str(volume)).returncode == 0
    (predictor,) = (
        p for p in pod_templates(documents_of("overlays/production")) if p.location.endswith(" predictor")
    )
    (verify,) = predictor.init_containers
    environment = {entry["name"]: entry.get("value") for entry in predictor.containers[0]["env"]}
    assert verify["command"][-1] == environment["YIWEN_RELEASE"]
    assert verify["securityContext"] == predictor.containers[0]["securityContext"]
    release = volume / "models" / "releases" / "demo"
    command = [*verify["command"][:-1], str(release)]
    assert _run(command, home=str(volume)).returncode == 0
    (release / "translation.json").write_text("{}")
    done = _run(command, home=str(volume))
    assert done.returncode == 1
    assert "translation.json" in done.stdout + done.stderr


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisOfOurs]:
    with redis_of_ours(tmp_path) as started:
        yield started


async def test_redis_starts_with_the_secrets_password_and_shows_it_to_nobody(redis: RedisOfOurs) -> None:
    store, nobody = redis.store(), redis.store(user=None)
    assert await store.set_many([("yiwen:k", b"v", 60_000)]) == [None]
    assert await store.get_many(["yiwen:k"]) == [b"v"]
    with pytest.raises(StoreError) as refused:
        await nobody.get_many(["yiwen:k"])
    assert refused.value.kind == "auth"
    for shown in ("cmdline", "environ"):
        assert b"$(c)" not in Path(f"/proc/{redis.process.pid}/{shown}").read_bytes()
    await store.close()
    await nobody.close()


async def test_the_transformers_user_may_do_what_it_needs_and_nothing_else(redis: RedisOfOurs) -> None:
    store = redis.store()
    await check_all_commands(store)
    await store.close()
    refused = {
        words
        for words in (
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
            ("KEYS", "*"),
            ("ACL", "LIST"),
            ("GET", "other:key"),
            ("EVAL", "return redis.call('FLUSHALL')", "0"),
            ("SHUTDOWN",),
            ("INFO",),
        )
        if await redis.refuses(*words)
    }
    assert {words[0] for words in refused} == {
        *("FLUSHALL", "CONFIG", "KEYS", "ACL", "GET", "EVAL", "SHUTDOWN", "INFO")
    }


async def test_over_tls_only_the_right_authority_is_trusted(tmp_path: Path) -> None:
    tls = tmp_path / "tls"
    tls.mkdir()
    certificate, key = make_certificate(tls)
    for path, name in ((certificate, "tls.crt"), (certificate, "ca.crt"), (key, "tls.key")):
        shutil.copyfile(path, tls / name)
    with redis_of_ours(tmp_path, tls=tls) as redis:
        address = parse_redis_url(f"rediss://yiwen@127.0.0.1:{redis.port}")
        password = redis.secret / "password"
        for authority, trusted in ((tls / "ca.crt", True), (None, False)):
            store = RedisStore(StoreSettings(address, password, authority, 2.0, 2.0, 2))
            if trusted:
                assert await store.set_many([("yiwen:k", b"v", 60_000)]) == [None]
            else:
                with pytest.raises(StoreError):
                    await store.get_many(["yiwen:k"])
            await store.close()


async def test_a_rotated_password_loses_no_entry_and_refuses_no_connection(redis: RedisOfOurs) -> None:
    """Three rotations; the old password is valid until the next, so that no order of updates matters."""
    kept = redis.store()
    assert await kept.set_many([("yiwen:k", b"v", 600_000)]) == [None]
    passwords = [(redis.secret / "password").read_text()]
    for number in range(3):
        passwords.append(f"password {number}")
        (redis.secret / "password").write_text(passwords[-1])
        await redis.until_it_accepts(passwords[-1])
        assert await kept.get_many(["yiwen:k"]) == [b"v"], "over the connection of before"
        assert await redis.accepts(passwords[-2]), "from a transformer that has not seen the new one yet"
    fresh = redis.store()
    assert await fresh.get_many(["yiwen:k"]) == [b"v"]
    assert not await redis.accepts(passwords[0])
    await kept.close()
    await fresh.close()


async def test_a_password_that_comes_next_is_accepted_before_it_is_used(redis: RedisOfOurs) -> None:
    (redis.secret / "next-password").write_text("the next")
    await redis.until_it_accepts("the next")
    assert await redis.accepts((redis.secret / "password").read_text())
