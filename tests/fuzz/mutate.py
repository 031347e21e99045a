"""Ways to spoil bytes, texts and JSON. All chance comes from the generator that is passed in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (
    0,
    1,
    2,
    3,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
TEXTS = (
    "",
    " ",
    "\0",
    "\x00\x01\x1b[31m",
    "\n",
    "a" * 300,
    "ä" * 70,
    "😴",
    "\u202e",
    "\ufeff",
    "\ud800",
    "%s%n{}{0}",
    "../../etc/passwd",
    "/",
    "-",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-0",
    "0x10",
    "1_000",
    "٣",
    "²",
    "true",
    "null",
    "[]",
    "{}",
    '"',
    "'",
    "\\",
    "$HOME",
    "9" * 5000,
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00+23:59",
    "2026-11-22T03:00:00",
)
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    50,
    101,
    2**31,
    2**63,
    2**64,
    10**400,
    0.0,
    -0.0,
    0.5,
    1e-320,
    1e308,
    float("inf"),
    float("nan"),
    [],
    {},
    [[]],
    *TEXTS,
)


def spoiled(data: bytes, rng: random.Random, most: int = 6) -> bytes:
    """``data`` after one to ``most`` mutations."""
    buffer = bytearray(data)
    for _ in range(rng.randint(1, most)):
        rng.choice(_WAYS)(buffer, rng)
    return bytes(buffer)


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))


def _number(data: bytearray, rng: random.Random) -> None:
    """Put a number that is at some edge over a field, in either order of bytes."""
    size = rng.choice((1, 2, 4, 8))
    # Most fields that lie stand at the begin.
    at = rng.randrange(min(len(data), rng.choice((16, 64, 512, 1 << 20))) + 1)
    value = rng.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice((1, 2, 4, 16, 256))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.randint(1, 64)] * rng.choice((1, 1, 2, 50))


def _zero(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    length = min(rng.choice((4, 64, 512)), len(data) - at)
    data[at : at + length] = bytes(length)


_WAYS: Sequence[Callable[[bytearray, random.Random], None]] = (
    _flip,
    _flip,
    _overwrite,
    _number,
    _number,
    _cut,
    _remove,
    _repeat,
    _zero,
)


def any_text(rng: random.Random, longest: int = 80) -> str:
    if rng.random() < 0.5:
        return rng.choice(TEXTS)
    alphabet = rng.choice(
        ("abcdefghijklmnopqrstuvwxyz", "0123456789.:-+eE", "\t\n\r\0\x7fäß€😀\"'[]{}=#,", "/\\.%&?;")
    )
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, longest)))


def any_value(rng: random.Random) -> Any:
    return rng.choice(VALUES) if rng.random() < 0.7 else any_text(rng)


def spoiled_tree(tree: Any, rng: random.Random) -> Any:
    """A parsed JSON with one place of it changed, removed or added."""
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        key = rng.choice(list(tree))
        changed = dict(tree)
        match rng.randrange(5):
            case 0:
                del changed[key]
            case 1:
                changed[any_text(rng, 12)] = any_value(rng)
            case 2:
                changed[key] = any_value(rng)
            case _:
                changed[key] = spoiled_tree(tree[key], rng)
        return changed
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        at = rng.randrange(len(tree))
        changed_list = list(tree)
        changed_list[at] = spoiled_tree(tree[at], rng)
        return changed_list * rng.choice((1, 1, 1, 0, 3))
    return any_value(rng)


def spoiled_json(tree: Any, rng: random.Random) -> bytes:
    """JSON that is wrong in its values, in its syntax, or in its bytes."""
    for _ in range(rng.randint(1, 3)):
        tree = spoiled_tree(tree, rng)
    data = json.dumps(tree).encode("utf-8", "surrogatepass")
    kind = rng.random()
    if kind < 0.25:
        return spoiled(data, rng, 4)
    if kind < 0.27:
        return b"[" * 100_000
    if kind < 0.29:
        return b'{"a":' * 5000 + b"1" + b"}" * 5000
    if kind < 0.31:
        return rng.randbytes(rng.randrange(64))
    return data
