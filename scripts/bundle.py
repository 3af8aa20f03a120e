"""Writes one file with all that an installation without a network needs; scripts/bundle documents the variables."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from bundle_images import BundledImage, BundleError, copy_images, documents_of, find_tool, images_in

from protocol.kubernetes.kubectl import KustomizeError, build_kustomization
from protocol.release import load_release
from protocol.release_documents import ReleaseError
from protocol.version import package_version

ROOT = Path(__file__).resolve().parent.parent
VERSION = package_version()
MANIFESTS = ("inferenceservices", "knative")
CHECKED_WITH = {"KServe": "0.20", "Knative Serving": "1.21", "Kubernetes": "1.33"}
"""Whose schemas and rules the manifests are checked with (docs/guides/manifests.md)."""


def main() -> int:
    """Write the bundle; returns the exit code."""
    started = time.monotonic()
    out = Path(os.environ.get("OUT") or ROOT / "build" / "bundle" / f"yiwen-{VERSION}.tar.zst").absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as name:
            root = Path(name) / f"yiwen-{VERSION}"
            root.mkdir()
            fill(root, os.environ)
            report(root)
            pack(root, out)
    except (BundleError, KustomizeError, ReleaseError) as error:
        print(f"make bundle: {error}", file=sys.stderr)
        return 1
    print(f"{out}: {out.stat().st_size / 1e6:,.0f} MB, after {time.monotonic() - started:.0f} s")
    return 0


def fill(root: Path, environ: Mapping[str, str]) -> None:
    """Put everything into the directory ``root``.

    Raises:
        BundleError, KustomizeError, ReleaseError: something is missing or damaged.
    """
    prerequisites = [Path(name) for name in environ.get("PREREQUISITES", "").split()]
    overlay = environ.get("OVERLAY") or "production"
    documents = add_manifests(root / "manifests", overlay, prerequisites)
    release = add_release(root / "release", environ.get("RELEASE", ""))
    own = registry_of(documents)
    images = copy_images(
        images_in([*documents, *documents_of(prerequisites)]), root / "images", find_tool(environ)
    )
    check_images(images, own, is_strict=environ.get("STRICT") == "1")
    (root / "images.tsv").write_text("".join(f"{image.line()}\n" for image in images))
    add_wheels(root / "wheels")
    shutil.copy(ROOT / "scripts" / "bundle_install", root / "install")
    shutil.copy(ROOT / "scripts" / "push_images.py", root / "push_images.py")
    (root / "versions.json").write_text(json.dumps(versions(release), indent=2) + "\n")
    (root / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums(root)))


def add_manifests(target: Path, overlay: str, prerequisites: Sequence[Path]) -> list[object]:
    """Copy the kustomize sources, and build an overlay and its release Job; returns their documents."""
    named = ROOT / "inferenceservices" / "overlays" / overlay
    directory = named if named.is_dir() else Path(overlay)
    built = {"overlay": build_kustomization(directory)}
    job = ROOT / "inferenceservices" / "release-jobs" / directory.name
    if job.is_dir():
        built["release-job"] = build_kustomization(job)
    target.mkdir()
    for name in MANIFESTS:
        shutil.copytree(
            ROOT / name,
            target / name,
            ignore=shutil.ignore_patterns("*.py", "*.pyc", "__pycache__", "py.typed"),
        )
    for name, text in built.items():
        (target / f"{name}.yaml").write_text(text)
    if prerequisites:
        (target / "prerequisites").mkdir()
    for path in prerequisites:
        shutil.copy(path, target / "prerequisites" / path.name)
    return [document for text in built.values() for document in yaml.safe_load_all(text)]


def add_release(target: Path, source: str) -> dict[str, str]:
    """Copy a release whose files have been compared with their digests.

    Raises:
        BundleError, ReleaseError: there is none, or a file differs.
    """
    if not source:
        raise BundleError("RELEASE names no release: set it to a directory that `yiwen release build` made")
    release = load_release(Path(source))
    command = [sys.executable, "-m", "cli", "release", "verify", source]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleError(f"{source}: {done.stdout}{done.stderr}".strip())
    shutil.copytree(source, target / release.name)
    return {"name": release.name, "id": release.id}


def registry_of(documents: Sequence[object]) -> str:
    """The registry of our own images: that of the transformer."""
    names = [name for name in images_in(documents) if "/transformer:" in name]
    return names[0].rpartition("/")[0] if names else ""


def check_images(images: Sequence[BundledImage], own: str, *, is_strict: bool) -> None:
    """Tell which images are absent.

    Raises:
        BundleError: one of ours is, or any is and ``is_strict``.
    """
    absent = [image.name for image in images if not image.digest]
    ours = [name for name in absent if name.startswith(f"{own}/")]
    if ours:
        raise BundleError(f"{', '.join(ours)} cannot be found or pulled: build them first (make images)")
    if absent and is_strict:
        raise BundleError(f"{', '.join(absent)} cannot be pulled, and STRICT is set")
    for name in absent:
        print(f"not reachable, and listed as absent: {name}", file=sys.stderr)


def add_wheels(target: Path) -> None:
    """Wheels of all locked packages for this Python and platform, of Yiwen, and a list of them with hashes.

    Raises:
        BundleError: they cannot be fetched.
    """
    target.mkdir()
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "-w",
        str(target),
    ]
    for arguments in (["--require-hashes", "-r", "requirements/cpu.txt"], ["."]):
        if subprocess.run([*pip, *arguments], cwd=ROOT, check=False).returncode:
            raise BundleError("pip could not fetch the locked packages, see above")
    lines = []
    for wheel in sorted(target.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{file_digest(wheel)}\n")
    (target / "requirements.txt").write_text("".join(lines))


def versions(release: Mapping[str, str]) -> dict[str, Any]:
    """What versions.json says."""
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "yiwen": VERSION,
        "revision": revision.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "release": dict(release),
        "manifests checked with": CHECKED_WITH,
    }


def sums(root: Path) -> list[tuple[str, str]]:
    """All files below ``root`` and their sha256, by name."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [(path.relative_to(root).as_posix(), file_digest(path)) for path in files]


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def report(root: Path) -> None:
    """Print how large the parts are."""
    for part in sorted(root.iterdir()):
        files = [path for path in part.rglob("*") if path.is_file()] if part.is_dir() else [part]
        print(f"{sum(path.stat().st_size for path in files) / 1e6:10,.1f} MB  {part.name}")


def pack(root: Path, out: Path) -> None:
    """Write the file, beside its place first, and its digest.

    Raises:
        BundleError: its name says no known compression, or tar fails.
    """
    compression = {".zst": "zstd -T0 -3", ".gz": "gzip -6"}.get(out.suffix)
    if compression is None or not out.name.endswith((".tar.zst", ".tar.gz")):
        raise BundleError(f"OUT is {out.name}: it must end in .tar.zst or .tar.gz")
    made = root.parent / out.name
    same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]
    command = ["tar", *same, "-I", compression, "-C", str(root.parent), "-cf", str(made), root.name]
    if subprocess.run(command, check=False).returncode:
        raise BundleError(f"tar failed, see above (it needs {compression.split()[0]})")
    made.rename(out)
    out.with_name(f"{out.name}.sha256").write_text(f"{file_digest(out)}  {out.name}\n")


if __name__ == "__main__":
    sys.exit(main())
