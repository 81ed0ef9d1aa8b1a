"""Which files a source names: a path, a folder, a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from node.collect.errors import NothingToCollect, SourceMissing, SourceUnreadable

SUFFIXES = (".txt", ".md", ".markdown", ".jsonl", ".ndjson", ".csv", ".tsv")
FILES_MOST = 100_000
_READS = "we read .txt, .md, .jsonl and .csv"


def canonical(source: str) -> str:
    """The source as it is remembered: an absolute path or pattern. Raises SourceMissing for what is not a path."""
    if "://" in source:
        raise SourceMissing(f"{source[:200]!r} is not a path: save it as a file first, {_READS}")
    return os.path.abspath(os.path.expanduser(source))


def files(source: str) -> list[Path]:
    """The files of a canonical source, in order. Raises SourceMissing, SourceUnreadable, NothingToCollect."""
    path = Path(source)
    if path.is_file():
        return [_known(path)]
    if path.is_dir():
        found = [file for file in _walk(path) if _readable(file)]
        nothing = f"folder {path} holds no file that can be collected: {_READS}"
    elif glob.has_magic(source):
        found = [file for file in map(Path, sorted(glob.glob(source, recursive=True))) if _readable(file)]
        nothing = f"no file fits {source}: {_READS}"
    else:
        raise SourceMissing(f"{source} is neither a file nor a folder: check the path")
    if not found:
        raise NothingToCollect(nothing)
    if len(found) > FILES_MOST:
        raise NothingToCollect(f"{source} names over {FILES_MOST} files: collect its parts one by one")
    return found


def _known(path: Path) -> Path:
    if path.suffix.lower() not in SUFFIXES:
        raise SourceUnreadable(f"{path} has the suffix {path.suffix or '(none)'}: {_READS}; rename or convert it")
    return path


def _walk(folder: Path) -> Iterator[Path]:
    """Files below the folder, sorted, without hidden ones; links to folders are not followed."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def _readable(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()
