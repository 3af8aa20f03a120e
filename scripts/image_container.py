"""Runs an image of buildah's storage as a cluster does, for `make image-test`.

The process runs as the image's user, in its own PID namespace, with a read-only root file system, a tmpfs at /tmp and
the machine's network.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTAINER = """
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$1" != -- ]; do
    mount --bind "$1" "$root$2"
    mount -o "remount,bind,$3" "$root$2"
    shift 3
done
shift
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot "$@"
"""
"""Shell script that mounts, then changes to the user.

Arguments: the root, any number of (source, place, rw or ro), --, and those of chroot."""

Mount = tuple[Path, str, str]


class ImageTestError(Exception):
    """An image fails a check."""


@dataclass(frozen=True, slots=True)
class Image:
    """A mounted image."""

    name: str
    root: Path
    config: Mapping[str, Any]

    def start(
        self,
        arguments: Sequence[str],
        *,
        mounts: Sequence[Mount] = (),
        environ: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        log: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start the image's process, with ``arguments`` after its entry point; ``log`` takes stdout and stderr."""
        for _, place, _ in mounts:
            (self.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in (environ or {}).items())]
        command = [*(entrypoint or self.config["Entrypoint"]), *arguments]
        places = [str(part) for mount in mounts for part in mount]
        chroot = [f"--userspec={self.config['User']}", "--groups=", str(self.root)]
        inside = ["/usr/bin/env", "-i", "-C", self.config["WorkingDir"], *variables, *command]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        shell = ["sh", "-c", CONTAINER, "sh", str(self.root), *places, "--", *chroot, *inside]
        return subprocess.Popen([*unshare, *shell], stdout=log, stderr=log)

    def run(self, arguments: Sequence[str], *, mounts: Sequence[Mount] = ()) -> None:
        """Run the image's process to its end, and show its output."""
        if code := self.start(arguments, mounts=mounts).wait():
            raise ImageTestError(f"{self.name}: {' '.join(arguments)} ended with exit code {code}")


def buildah(*arguments: str) -> str:
    """Run a buildah command; returns its stdout."""
    done = subprocess.run(["buildah", *arguments], stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode:
        raise ImageTestError(f"buildah {arguments[0]} ended with exit code {done.returncode}, see above")
    return done.stdout.strip()


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """Mount a container of the image; gives its root file system."""
    container = buildah("from", image)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("rm", container)


@contextmanager
def open_image(target: str, name: str) -> Iterator[Image]:
    """Open an image that was built from a target of the Dockerfile."""
    config = json.loads(buildah("inspect", "--type", "image", name))["OCIv1"]["config"]
    with mounted(name) as root:
        yield Image(target, root, config)
