"""Write the golden vectors of `sealed/1` beside this file: python tests/vectors/sealed/make.py

The cryptography here is written straight from DESIGN §4 with none of the product's code, so the vectors check it. Only
the plaintext cells come from the packer: a later zstd may compress otherwise, which changes no rule of the format.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from protocols.sealed import Record, pack_cells, record_id

HERE = Path(__file__).parent


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def chacha(key: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(data)


def records() -> list[Record]:
    texts = [f"Review {n}: the dress runs {'small' if n % 2 else 'large'}, the cloth is soft. " * 3 for n in range(40)]
    texts.append(
        "Ein langer Bericht über Stoffe und Größen. "
        + " ".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(40))
    )
    return [
        Record(
            id=record_id(f"n° {n}", text),
            text=text,
            title=f"n° {n}",
            language="de" if text.startswith("Ein") else "en",
            labels={"class": "dresses", "rating": str(n % 5 + 1)},
            created_at=1_700_000_000 + n,
        )
        for n, text in enumerate(texts)
    ]


def vector(name: str, rows: list[Record], content_key: bytes, cell_bytes: int) -> dict[str, object]:
    plain = pack_cells(rows, cell_bytes)
    keys = [sha(content_key, i.to_bytes(4, "big")) for i in range(len(plain))]
    secret = [chacha(k, m) for k, m in zip(keys, plain, strict=True)]
    parts = [(sha(c), sha(b"p", k, m), sha(b"k", k)) for c, k, m in zip(secret, keys, plain, strict=True)]
    levels = [[sha(*p) for p in parts]]
    while len(levels[-1]) > 1:
        row = levels[-1]
        above = [sha(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        levels.append(above + row[len(row) - len(row) % 2 :])
    index = b"".join(len(c).to_bytes(2, "big") + p[1] + p[2] for c, p in zip(secret, parts, strict=True))
    payload = b"SWSEALED" + (1).to_bytes(4, "big") + len(plain).to_bytes(4, "big") + index + b"".join(secret)
    cell = len(plain) - 1
    path, at = [], cell
    for row in levels[:-1]:
        if at ^ 1 < len(row):
            path.append(row[at ^ 1].hex())
        at >>= 1
    return {
        "name": name,
        "content_key": content_key.hex(),
        "cells": [m.hex() for m in plain],
        "record_ids": [r.id for r in rows],
        "leaves": [leaf.hex() for leaf in levels[0]],
        "root": levels[-1][0].hex(),
        "payload_sha256": sha(payload).hex(),
        "opening": {"index": cell, "key": keys[cell].hex(), "ciphertext": secret[cell].hex(), "path": path},
    }


def main() -> None:
    rows = records()
    vectors = [
        vector("one-cell", rows[:1], bytes(32), 4_096),
        vector("several-cells-and-a-long-record", rows, bytes(range(32)), 512),
        vector("large-cells", rows, hashlib.sha256(b"large-cells").digest(), 4_096),
    ]
    for made in vectors:
        (HERE / f"{made['name']}.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
