from __future__ import annotations

from typing import Any

import pytest

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.manifests import ARTIFACT_TYPE, file_regions
from predictor.builder.transfer.release_layers import FILE_TYPE


def layer(name: str, offset: int, size: int, file_size: int) -> dict[str, Any]:
    annotations = {"yiwen.file": name, "yiwen.offset": str(offset), "yiwen.size": str(file_size)}
    return {
        "mediaType": FILE_TYPE,
        "digest": f"sha256:{offset:064}",
        "size": size,
        "annotations": annotations,
    }


def regions(*layers: dict[str, Any]) -> list[tuple[str, int]]:
    found = file_regions({"artifactType": ARTIFACT_TYPE, "layers": list(layers)}, "x")
    return [(region.name, region.offset) for region in found]


def test_parts_may_come_in_any_order() -> None:
    assert regions(layer("b", 10, 5, 15), layer("a/e", 0, 0, 0), layer("b", 0, 10, 15)) == [
        ("b", 10),
        ("a/e", 0),
        ("b", 0),
    ]


@pytest.mark.parametrize(
    "layers",
    [
        [layer("b", 0, 10, 15)],
        [layer("b", 10, 5, 15)],
        [layer("b", 0, 10, 15), layer("b", 5, 10, 15)],
        [layer("b", 0, 10, 15), layer("b", 10, 5, 16)],
    ],
)
def test_parts_that_make_no_file_are_refused(layers: list[dict[str, Any]]) -> None:
    with pytest.raises(TransferFailed, match="parts of"):
        regions(*layers)


def test_a_layer_without_its_place_is_refused() -> None:
    with pytest.raises(TransferFailed, match="is not one of this version"):
        regions({"mediaType": FILE_TYPE, "digest": "sha256:0", "size": 1})


@pytest.mark.parametrize(
    ("document", "what"),
    [({"layers": [1]}, "an image"), ({"manifests": [1]}, "an image"), ({}, "something else")],
)
def test_other_manifests_are_named(document: dict[str, Any], what: str) -> None:
    with pytest.raises(TransferFailed, match=f"x is {what}, not a release"):
        file_regions(document, "x")
