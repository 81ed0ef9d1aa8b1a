"""A multilingual retrieval set with exact judgements: Debian's package descriptions, through apt's own indices.

A translated one-line summary is the query, the English description of the same package the only right answer. Nothing
is kept in this repository: apt fetches Translation-en, -de and -zh_CN (about 9 MB) into a private folder of the cache
at the first use, which needs apt and a Debian mirror in its sources, but no rights and no change to the system.
Descriptions are under their packages' free licences, the translations under those of the Debian Description Translation
Project.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from node.embed.install import cache_folder

LANGUAGES = ("en", "de", "zh_CN")
APT_TIMEOUT_S = 300


@dataclass(frozen=True)
class Package:
    """A package with summary and description by language; `en` is always there."""

    name: str
    section: str
    texts: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class RetrievalSet:
    """`queries` by language are (text, index of the right document)."""

    documents: list[str]
    queries: dict[str, list[tuple[str, int]]]


class AptUnavailable(Exception):
    """There is no apt here, or it reaches no mirror."""


@lru_cache(maxsize=1)
def packages() -> list[Package]:
    """Packages with an English description, one for each distinct description, by name. Raises AptUnavailable."""
    lists = _lists()
    sections = {
        stanza["Description-md5"]: (stanza["Package"], stanza.get("Section", "").rpartition("/")[2])
        for path in sorted(lists.glob("*_Packages*"))
        for stanza in _stanzas(path)
        if "Description-md5" in stanza
    }
    texts: dict[str, dict[str, tuple[str, str]]] = {}
    for language in LANGUAGES:
        for path in sorted(lists.glob(f"*_i18n_Translation-{language.replace('_', '%5f')}*")):
            for stanza in _stanzas(path):
                if body := stanza.get(f"Description-{language}"):
                    texts.setdefault(stanza["Description-md5"], {})[language] = _split(body)
    found = [
        Package(*sections[digest], texts=by_language)
        for digest, by_language in texts.items()
        if digest in sections and "en" in by_language
    ]
    if not found:
        raise AptUnavailable("apt's indices hold no descriptions")
    return sorted(found, key=lambda package: package.name)


def retrieval_set(documents: int = 1_000, queries: int = 200, seed: int = 0) -> RetrievalSet:
    """A fixed sample: every translated package first, so that each language has queries; the rest are distractors."""
    order = packages()[:]
    random.Random(seed).shuffle(order)
    order.sort(key=lambda package: -len(package.texts))  # stable: the shuffle decides within
    pool = order[: documents // 2] + order[-(documents - documents // 2) :]
    asked: dict[str, list[tuple[str, int]]] = {}
    for index, package in enumerate(pool):
        for language, (summary, _body) in package.texts.items():
            if len(asked.setdefault(language, [])) < queries:
                asked[language].append((summary, index))
    # The summary is left out of the document: it would be the query itself.
    return RetrievalSet([package.texts["en"][1] or package.texts["en"][0] for package in pool], asked)


def _lists() -> Path:
    folder = cache_folder() / "apt"
    lists = folder / "state" / "lists"
    if not any(lists.glob("*Translation-zh*")):
        _update(folder)
    return lists


def _update(folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise AptUnavailable("this set comes from apt, which is not here")
    (folder / "state" / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    config = folder / "apt.conf"
    config.write_text(
        "#clear Acquire::Languages;\n"
        f"Acquire::Languages {{ {' '.join(f'{chr(34)}{name}{chr(34)};' for name in LANGUAGES)} }};\n"
        'Acquire::GzipIndexes "false";\n'
        f'Dir::State "{folder}/state";\nDir::Cache "{folder}/cache";\n'
    )
    command = ["apt-get", "--quiet", "-c", str(config), "update"]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=APT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise AptUnavailable("apt-get update took too long") from err
    if done.returncode:
        raise AptUnavailable(f"apt-get update failed: {done.stderr.strip()[-200:]}")


def _stanzas(path: Path) -> Iterator[dict[str, str]]:
    """The stanzas of an index (RFC 822 fields, continued by a leading space), packed or not."""
    if path.suffix == ".lz4":
        text = subprocess.run(["lz4cat", path], capture_output=True, check=True).stdout.decode("utf-8", "replace")
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.split("\n"):
            if line.startswith(" ") and name:
                fields[name] += "\n" + line[1:]
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def _split(body: str) -> tuple[str, str]:
    summary, _, rest = body.partition("\n")
    return summary.strip(), re.sub(r"(?m)^\.$", "", rest).strip()
