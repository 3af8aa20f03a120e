"""Builds the images on a Debian base made here, and serves the demo release from them: `make image-test`.

The images run as on a cluster: as their own user, in their own PID namespace, with a read-only root file system and a
tmpfs at /tmp. scripts/image-test documents requirements and variables.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from image_container import Image, ImageTestError, Mount, buildah, mounted, open_image

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "examples" / "demo_model" / "checkpoint"
HELDOUT = ROOT / "examples" / "demo_model" / "heldout.tsv"
REGISTRY, TAG, BASE = "localhost/yiwen-image-test", "test", "localhost/yiwen-image-test/base:test"
USER = 10001

LIMIT_MB = {"transformer": 450, "predictor-cpu": 450, "builder": None}
"""The images in build order, and the most megabytes (1e6 bytes) that each may add to its base."""
ABSENT = {
    "transformer": ("onnxruntime", "onnx"),
    "predictor-cpu": ("tokenizers", "redis", "py3langid", "onnx"),
    "builder": (),
}
"""Packages that an image must not contain."""
ABSENT_EVERYWHERE = ("torch", "transformers", "pip", "setuptools", "grpc_tools")
COMPILERS = ("cc", "gcc", "g++", "clang", "ld", "as", "make")

WRITE = f"""
import sys
try:
    open("/opt/yiwen/x", "w")
except OSError as error:
    sys.exit(error.errno != {errno.EROFS})
sys.exit(2)
"""
"""Script that exits with 0 if a write fails because the file system is read-only."""

READY_S, STOP_S = 120.0, 60.0


def main() -> int:
    """Build, inspect and run the images; returns the exit code."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="yiwen-image-test-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        os.environ["CONTAINERS_STORAGE_CONF"] = str(write_storage_conf(work))
        try:
            make_base(work)
            build_images()
            with ExitStack() as stack:
                base = stack.enter_context(mounted(BASE))
                images = {
                    target: stack.enter_context(open_image(target, f"{REGISTRY}/{target}:{TAG}"))
                    for target in LIMIT_MB
                }
                report(images, base)
                for image in images.values():
                    inspect(image)
                serve(images, work)
        except ImageTestError as error:
            print(f"make image-test: {error}", file=sys.stderr)
            return 1
        finally:
            for command in (["rm", "--all"], ["rmi", "--all", "--force"]):
                subprocess.run(["buildah", *command], stdout=subprocess.DEVNULL, check=False)
    print(f"all well, after {time.monotonic() - started:.0f} s")
    return 0


def write_storage_conf(work: Path) -> Path:
    """Configure a separate image storage, so that no other image is changed."""
    driver = os.environ.get("STORAGE_DRIVER", "overlay")
    path = work / "storage.conf"
    places = {"driver": driver, "graphroot": str(work / "storage"), "runroot": str(work / "run")}
    path.write_text("[storage]\n" + "".join(f'{key} = "{value}"\n' for key, value in places.items()))
    return path


def make_base(work: Path) -> None:
    """Make the image BASE: Debian 12 with its Python."""
    tree = Path(os.environ.get("IMAGE_TEST_BASE") or work / "debian")
    if not tree.exists():
        print("making a Debian with debootstrap", flush=True)
        mirror = os.environ.get("IMAGE_TEST_MIRROR", "http://deb.debian.org/debian")
        packages = "--include=python3,python3-venv,ca-certificates"
        with (work / "debootstrap.log").open("w+") as log:
            command = ["debootstrap", "--variant=minbase", packages, "bookworm", str(tree), mirror]
            if subprocess.run(command, stdout=log, check=False).returncode:
                log.seek(0)
                raise ImageTestError(f"debootstrap failed:\n{''.join(log.readlines()[-5:])}")
    archive = work / "base.tar"
    left_out = [
        f"--exclude=./{part}/*" for part in ("dev", "proc", "sys", "var/cache/apt", "var/lib/apt/lists")
    ]
    subprocess.run(["tar", "-C", str(tree), *left_out, "-cf", str(archive), "."], check=True)
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(archive), "/")
    buildah("commit", "--quiet", container, BASE)
    buildah("rm", container)
    archive.unlink()


def build_images() -> None:
    """Build with scripts/images, without TensorRT, which takes gigabytes and needs a GPU."""
    environ = {
        "IMAGE_TOOL": "buildah",
        "PYTHON_IMAGE": BASE,
        "REGISTRY": REGISTRY,
        "TAG": TAG,
        "TENSORRT": "",
    }
    command = [str(ROOT / "scripts" / "images"), *LIMIT_MB]
    if subprocess.run(command, env={**os.environ, **environ}, check=False).returncode:
        raise ImageTestError("scripts/images could not build the images, see above")


def report(images: Mapping[str, Image], base: Path) -> None:
    """Print what each image adds to its base.

    Raises:
        ImageTestError: one adds more than its limit.
    """
    sizes = {target: (size_of(image.root) - size_of(base)) / 1e6 for target, image in images.items()}
    print(f"base: {size_of(base) / 1e6:.0f} MB")
    for target, size in sizes.items():
        print(f"{target}: {size:.0f} MB over its base")
    for target, limit in LIMIT_MB.items():
        if limit is not None and sizes[target] > limit:
            raise ImageTestError(f"{target} adds {sizes[target]:.0f} MB to its base, more than {limit}")


def size_of(root: Path) -> int:
    """Bytes of all files below ``root``."""
    done = subprocess.run(["du", "-sb", str(root)], stdout=subprocess.PIPE, check=True, text=True)
    return int(done.stdout.split()[0])


def inspect(image: Image) -> None:
    """Raise ImageTestError if the image has files that it should not have."""
    if image.config["User"] != f"{USER}:{USER}":
        raise ImageTestError(f"{image.name} runs as {image.config['User']!r}, not as {USER}:{USER}")
    (packages,) = image.root.glob("opt/yiwen/lib/python3*/site-packages")
    found = [name for name in (*ABSENT_EVERYWHERE, *ABSENT[image.name]) if (packages / name).exists()]
    found += [name for name in COMPILERS if (image.root / "usr" / "bin" / name).exists()]
    found += [str(path) for path in image.root.glob("**/.cache/pip")]
    if found:
        raise ImageTestError(f"{image.name} has {', '.join(found)}")
    if image.start(["-c", WRITE], entrypoint=["python"]).wait() != 0:
        raise ImageTestError(f"{image.name} was not run on a read-only root file system")


def serve(images: Mapping[str, Image], work: Path) -> None:
    """Build the demo release with one image, serve it with the other two, and translate a title."""
    models = work / "models"
    models.mkdir()
    os.chown(models, USER, USER)
    writing: list[Mount] = [(models, "/mnt/models", "rw"), (CHECKPOINT, "/mnt/checkpoint", "ro")]
    build = ["release", "build", "/mnt/checkpoint", "--output", "/mnt/models/demo", "--name", "demo"]
    images["builder"].run(build, mounts=writing)
    images["builder"].run(["release", "verify", "/mnt/models/demo"], mounts=[(models, "/mnt/models", "ro")])
    front, back = free_ports(2)
    host = f"--predictor_host=127.0.0.1:{back}"
    with (
        service(images["predictor-cpu"], models, back, ()),
        service(images["transformer"], models, front, (host,)),
    ):
        with HELDOUT.open(encoding="utf-8", newline="") as file:
            title, wanted = (row := next(csv.DictReader(file, delimiter="\t")))["en"], row["zh"]
        translation = translate(front, title)
        print(f"{title} -> {translation}")
        if translation != wanted:
            raise ImageTestError(f"the translation should have been {wanted}")


@contextmanager
def service(image: Image, models: Path, port: int, arguments: Sequence[str]) -> Iterator[None]:
    """Run a service; gives it when it is ready, and afterwards checks that SIGTERM ends it with exit code 0."""
    environ = {"YIWEN_RELEASE": "/mnt/models/demo", "YIWEN_HOST": "127.0.0.1"}
    given = ("--model_name=demo", "--workers=1", f"--http_port={port}", "--grpc_port=0", *arguments)
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        mounts: list[Mount] = [(models, "/mnt/models", "ro")]
        process = image.start(given, mounts=mounts, environ=environ, log=log.fileno())
        try:
            while not is_ready(port):
                if process.poll() is not None or time.monotonic() > started + READY_S:
                    log.seek(0)
                    raise ImageTestError(f"{image.name} does not serve:\n{log.read().decode()[-4000:]}")
                time.sleep(0.05)
            print(f"{image.name}: ready after {time.monotonic() - started:.1f} s")
            yield
            # unshare has one child, process 1 of the container.
            os.kill(int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()), signal.SIGTERM)
            if code := process.wait(STOP_S):
                raise ImageTestError(f"{image.name} ended with exit code {code} after SIGTERM")
        finally:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """TCP ports of this machine that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listening.getsockname()[1] for listening in sockets]


def is_ready(port: int) -> bool:
    """Whether the service reports ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def translate(port: int, title: str) -> str:
    """Translate an English title to Chinese over HTTP."""
    text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [title]}
    body = json.dumps({"parameters": {"source": "en", "target": "zh"}, "inputs": [text]}).encode()
    url = f"http://127.0.0.1:{port}/v2/models/demo/infer"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60.0) as response:
        outputs = {output["name"]: output["data"] for output in json.load(response)["outputs"]}
    return str(outputs["translation"][0])


if __name__ == "__main__":
    sys.exit(main())
