"""Structured logs: readable on a terminal, JSON lines otherwise; levels by area, changed while running.

An area is a module prefix (`node.market`); the longest prefix that has a level decides. Other libraries' `logging`
records come out by the same way. Values under a name that sounds like a secret are masked as the last defence;
the first is not to log them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
SECRET = ("passphrase", "password", "secret", "private", "mnemonic", "cookie", "authorization", "content_key")
# chatty on their own account: what matters of them is logged by us, with our words
QUIET = {"libp2p": "critical", "hypercorn": "warning", "lance": "error", "asyncio": "error", "multiaddr": "error"}


class UnknownLevel(ValueError):
    """A level that is none of ours."""

    kind = "invalid"
    hint = "use one of: " + ", ".join(LEVELS)


class Levels:
    """Area → level, looked up by the longest prefix, with a cache that a change empties."""

    def __init__(self, default: str, areas: Mapping[str, str]) -> None:
        self._areas: dict[str, int] = {}
        self._cache: dict[str, int] = {}
        for area, level in {**QUIET, **areas, "": default}.items():
            self.set(area, level)

    def set(self, area: str, level: str) -> None:
        if level not in LEVELS:
            raise UnknownLevel(f"log level {level!r} is unknown")
        self._areas[area] = LEVELS[level]
        self._cache.clear()

    def of(self, name: str) -> int:
        if name not in self._cache:
            if len(self._cache) > 4_096:  # names come from our modules and libraries, but who knows
                self._cache.clear()
            parts = name.split(".")
            prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
            self._cache[name] = next((self._areas[p] for p in prefixes if p in self._areas), self._areas[""])
        return self._cache[name]


class _Sink:
    """What structlog calls a logger: a named line printer."""

    def __init__(self, name: str, out: TextIO) -> None:
        self.name = name
        self._out = out

    def _print(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (BrokenPipeError, ValueError):
            pass  # whoever read our log is gone; that must not take the node down

    debug = info = warning = warn = error = critical = exception = fatal = failure = msg = log = _print


class _Forward(logging.Handler):
    """Sends the records of other libraries through our processors."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        level = next((name for name, number in LEVELS.items() if record.levelno <= number), "critical")
        try:
            getattr(log, level)(record.getMessage(), **fields)
        except Exception:  # a log record that cannot be formatted is not worth a node
            self.handleError(record)


_levels = Levels("info", {})


def setup(default: str = "info", areas: Mapping[str, str] | None = None, out: TextIO | None = None) -> None:
    """Configure logging of the whole process; raises UnknownLevel."""
    global _levels
    _levels = Levels(default, areas or {})
    stream = sys.stderr if out is None else out
    structlog.configure(
        processors=[_named, _masked, structlog.contextvars.merge_contextvars, _timed, *_rendering(stream)],
        logger_factory=lambda name="", *_: _Sink(name, stream),
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(logging.INFO)


def set_level(area: str, level: str) -> None:
    """Change the level of an area (`""` is the default) at once; raises UnknownLevel."""
    _levels.set(area, level)


def _rendering(stream: TextIO) -> list[structlog.typing.Processor]:
    if stream.isatty():
        return [structlog.dev.ConsoleRenderer(pad_event_to=32)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _named(logger: _Sink, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    level = {"exception": "error", "warn": "warning", "fatal": "critical", "msg": "info"}.get(method, method)
    if LEVELS.get(level, 20) < _levels.of(logger.name):
        raise structlog.DropEvent
    event["level"] = level
    event["area"] = logger.name
    return event


def _masked(logger: _Sink, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if any(word in key.lower() for word in SECRET) and not key.endswith(("_id", "_file")):
            event[key] = "***"
    return event


_timed = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
