"""Inputs made of seeds: bytes flipped, cut, doubled and joined; documents with values in the wrong places."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.archives import BLOCK, summed

Mutate = Callable[[Random, Sequence[bytes]], bytes]

STRANGE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**400,
    0.5,
    -0.0,
    1e308,
    "",
    " ",
    "0",
    "-1",
    "1e999",
    "nan",
    "\0",
    "\ud800",
    "../x",
    "\u0661",
    "a" * 5000,
    "${x}",
    "s3://b/k",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"Ref": "AWS::NoValue"},
    {"Fn::If": ["a"]},
    {"Fn::Sub": "${a}"},
    {"Fn::GetAtt": []},
)
WORDS = (b"0", b"-1", b"\xff\xff\xff\xff", bytes(4), b"\x80", b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\x1f\x8b\x08", b"\n")
SYMBOLS = ("(", ")", "[", "]", '"', "'", "|", "*", "^", "-", ",", "=", "AND", "NOT", "OR", "IF", "ALARM", "SEARCH", "e")


def mutate_bytes(random: Random, seeds: Sequence[bytes]) -> bytes:
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        _change(random, data, seeds)
    return bytes(data)


def _change(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 2, 4, 8, 64, 1000)))
    match random.randrange(7):
        case 0 if data:
            data[at % len(data)] ^= 1 << random.randrange(8)
        case 1 if data:
            data[at % len(data)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end]
        case 4:
            word = random.choice(WORDS)
            data[at : at + len(word) * random.randrange(2)] = word
        case 5:
            other = random.choice(seeds)
            data[at:] = other[random.randrange(len(other) + 1) :]
        case _:
            data[at:end] = random.randbytes(end - at)


def mutate_tar(random: Random, seeds: Sequence[bytes]) -> bytes:
    """As mutate_bytes, with the checksum of headers put right most of the time, so that what lies behind is read."""
    data = bytearray(mutate_bytes(random, seeds))
    if random.random() < 0.2 or len(data) < BLOCK:
        return bytes(data)
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        block = bytes(data[at : at + BLOCK])
        if block[257:262] == b"ustar":
            data[at : at + BLOCK] = summed(block)
    return bytes(data)


def mutate_json(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A seed with values of its tree replaced, removed, doubled or moved; what is no JSON changes by bytes."""
    seed = random.choice(seeds)
    if random.random() < 0.15:
        return mutate_bytes(random, [seed])
    try:
        value = json.loads(seed)
    except ValueError:
        return mutate_text(random, [seed])
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        value = _changed(random, value)
    return json.dumps(value).encode()


def _changed(random: Random, value: Any) -> Any:
    places = list(_places(value))
    if not places or random.random() < 0.01:
        return random.choice(STRANGE)
    holder, key = random.choice(places)
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[random.choice(("", "x", "Ref", "AlarmName", "Records", key + "s"))] = holder.pop(key)
        case 1 if isinstance(holder, list):
            holder.append(holder[key])
        case 2:
            other, place = random.choice(places)
            if other is not holder and place in (other if isinstance(other, dict) else range(len(other))):
                holder[key] = json.loads(json.dumps(other[place]))
        case 3:
            holder[key] = [holder[key]]
        case 4 if isinstance(holder[key], str):
            holder[key] = mutate_text(random, [holder[key].encode("utf-8", "replace")]).decode("utf-8", "replace")
        case _:
            strange = random.choice(STRANGE)
            holder[key] = json.loads(json.dumps(strange)) if isinstance(strange, list | dict) else strange
    return value


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def mutate_text(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A seed with its pieces swapped for those of others, for marks of the languages, and for bytes."""
    text = random.choice(seeds).decode("utf-8", "replace")
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(text) + 1)
        end = min(len(text), at + random.choice((0, 1, 3, 10)))
        new = random.choice(
            (random.choice(SYMBOLS), text[at:end] * 2, str(random.choice(STRANGE))[:60], random.choice(SYMBOLS) * 9)
        )
        text = text[:at] + new + text[end:]
    return text.encode("utf-8", "replace")


def mutate_documents(random: Random, seeds: Sequence[bytes]) -> bytes:
    """A configuration and a manifest, apart by a zero byte: one of both changed."""
    config, _, manifest = random.choice(seeds).partition(b"\0")
    if random.random() < 0.3:
        return mutate_text(random, [config]) + b"\0" + manifest
    return config + b"\0" + mutate_json(random, [manifest])
