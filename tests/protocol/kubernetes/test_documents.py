from __future__ import annotations

import pytest

from protocol.kubernetes.documents import (
    DocumentError,
    kind_and_name,
    load_documents,
    load_manifests,
    mapping,
    objects,
    string_map,
    strings,
)


@pytest.mark.parametrize(
    "text", ["- 1\n", "kind: A\n", "apiVersion: v1\nkind: A\n", "apiVersion: v1\nkind: A\nmetadata: 3\n"]
)
def test_a_document_that_is_no_manifest(text: str) -> None:
    with pytest.raises(ValueError, match="document 1"):
        load_manifests(text)


def test_a_syntax_error_is_located() -> None:
    for load in (load_manifests, load_documents):
        with pytest.raises(DocumentError, match="not YAML at line 2"):
            load("a:\n  [")


def test_items_of_a_list_stand_in_its_place() -> None:
    text = "kind: A\n---\nkind: List\nitems: [{kind: B}, 3]\n---\n- 1\n---\nkind: C\n"
    assert [document["kind"] for document in load_documents(text)] == ["A", "B", "C"]


def test_fields_that_are_missing_or_of_another_type_read_as_empty() -> None:
    document = {
        "kind": "A",
        "metadata": {"name": "a", "labels": {"b": 1}},
        "spec": {"c": [{}, 3], "d": "text"},
    }
    assert kind_and_name(document) == "A/a"
    assert mapping(document, "spec", "c", "d") == {}
    assert objects(document, "spec", "c") == ({},)
    assert objects(document, "spec", "d") == objects(document, "spec", "e") == ()
    assert string_map(document, "metadata", "labels") == {"b": "1"}
    assert strings(mapping(document, "spec").get("d")) == ()
