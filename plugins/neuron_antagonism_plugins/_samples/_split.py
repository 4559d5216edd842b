"""How the generated samples fall into a training and a test part."""

from __future__ import annotations

import hashlib


def number(text: str, below: int) -> int:
    """A number 0 to `below` - 1 that depends on `text` alone, the same on every machine."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % below


def part(combination: str, train: int) -> str:
    """The part of a combination: "train" for about `train` per cent of them, else "test"."""
    return "train" if number(combination, 100) < train else "test"
