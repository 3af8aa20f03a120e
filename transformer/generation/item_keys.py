"""The cache key of a work item. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from protocol.messages import Formality
from transformer.cache.cache_key import cache_key
from transformer.texts.terms import Term
from transformer.texts.work_item import WorkItem

_DIGEST_BYTES = 16


def key_of(item: WorkItem, release: str) -> bytes:
    """The key of ``item``'s translation under the release with the id ``release``.

    Only glossary entries that apply to the item change its key, and only what its prompt has of the other options.
    """
    options = dict(item.options)
    if item.context:
        options["context"] = context_digest(item.context)
    if item.formality is not Formality.DEFAULT:
        options["formality"] = item.formality.value
    if item.is_tagged:
        options["tags"] = "release"
    if item.terms:
        options["glossary"] = terms_digest(item.terms)
    return cache_key(release=release, source=item.source, target=item.target, options=options, text=item.text)


def context_digest(context: str) -> str:
    """A digest of what stands around a text."""
    return hashlib.blake2b(context.encode(), digest_size=_DIGEST_BYTES, person=b"yiwen-context").hexdigest()


def terms_digest(terms: Sequence[Term]) -> str:
    """A digest of the places in a text that glossary entries apply to, and of what they require."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=b"yiwen-terms-v1")
    for term in terms:
        target = term.required_text.encode()
        digest.update(f"{term.start} {term.end} {term.is_kept:d} {len(target)} ".encode())
        digest.update(target)
    return digest.hexdigest()
