"""``push_images.py LAYOUT REGISTRY`` pushes the images of an OCI layout; a bundle's ``install`` runs it.

An image ``docker.io/valkey/valkey:8`` becomes ``REGISTRY/valkey/valkey:8`` and keeps its digest. Logins are those of
``docker login`` and ``podman login``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.docker_credentials import find_login
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.image_layout import images_of, push_layout_image
from predictor.builder.transfer.registry import Registry
from predictor.builder.transfer.registry_reference import RegistryReference, parse_reference


def main() -> int:
    """Push all images; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("layout", type=Path)
    parser.add_argument("registry", help="such as registry.example.com/mirror")
    parser.add_argument("--plain-http", action="store_true", help="for a registry without TLS")
    options = parser.parse_args()
    try:
        with TransferHttp() as http:
            for image in images_of(options.layout):
                target = target_of(image.name, options.registry)
                login = find_login(target.host, os.environ)
                registry = Registry(http, target, plain_http=options.plain_http, login=login)
                digest = push_layout_image(options.layout, image, registry, target.name)
                print(f"{target} {digest}", flush=True)
    except TransferFailed as error:
        print(f"install push: {error}", file=sys.stderr)
        return 1
    return 0


def target_of(name: str, registry: str) -> RegistryReference:
    """Where an image goes: its repository and tag, below ``registry``."""
    source = parse_reference(name)
    return parse_reference(f"{registry.rstrip('/')}/{source.repository}:{source.name}")


if __name__ == "__main__":
    sys.exit(main())
