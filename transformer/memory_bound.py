"""The memory that a transformer's pod needs, by its limits. Pure.

The factors were measured with the worst bodies of tests/e2e/test_hostile_bodies.py, and rounded up. docs/overload.md
explains the terms.
"""

from __future__ import annotations

MIB = 2**20

PROCESS_BYTES = 224 * MIB
"""A process without requests: Python, libraries, a tokenizer of 150,000 tokens, and what the allocator keeps free."""
HELD_PER_BODY_BYTE = 5
"""A body that waits or is answered: itself, and its texts in up to 4 bytes per character."""
DECODED_PER_BODY_BYTE = 12
"""The one body that is decoded: a string of 4 bytes per character, and up to 2**18 values of 100 bytes."""
SPLIT_PER_TEXT_BYTE = 40
"""The texts of a request that are split: the text in up to 4 bytes per character, twice, and its parts."""
TOKENIZED_BYTES = 16 * MIB
"""A group of texts that is tokenized: 200 bytes for each of :data:`protocol.prompt_encoder.GROUP_CHARACTERS`."""


def memory_bound(
    *, max_body_bytes: int, max_bodies_bytes: int, max_text_bytes: int, text_threads: int, cache_bytes: int
) -> int:
    """Most bytes that a transformer takes, whatever is sent to it.

    Args:
        max_body_bytes: ``YIWEN_MAX_BODY_BYTES``.
        max_bodies_bytes: ``YIWEN_MAX_BODIES_BYTES``.
        max_text_bytes: ``YIWEN_MAX_TEXT_BYTES``.
        text_threads: ``YIWEN_TEXT_THREADS``.
        cache_bytes: ``YIWEN_CACHE_BYTES``.
    """
    return (
        PROCESS_BYTES
        + cache_bytes
        + HELD_PER_BODY_BYTE * max_bodies_bytes
        + DECODED_PER_BODY_BYTE * max_body_bytes
        + text_threads * (SPLIT_PER_TEXT_BYTE * max_text_bytes + TOKENIZED_BYTES)
    )
