"""How many cores the trainers' linear algebra may take.

numpy's wheels carry OpenBLAS, which starts a thread a core and lets them spin for each other: on a busy machine a
product of two small matrices then takes a hundred times longer than on one thread. It can be told otherwise only by
an environment variable before numpy is imported, or by this call into the loaded library. Another BLAS is left alone.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

SETTERS = (
    "scipy_openblas_set_num_threads64_",  # numpy's wheels since 1.26
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def limit_threads(count: int) -> bool:
    """Let BLAS use `count` threads from now on, in the whole process. Whether it could be told."""
    setters = [function for library in _libraries() if (function := _setter(library)) is not None]
    for function in setters:
        function(count)
    if not setters:
        log.debug("linear algebra keeps its own number of threads")
    return bool(setters)


@lru_cache(maxsize=1)
def _libraries() -> tuple[ctypes.CDLL, ...]:
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:  # not Linux
        return ()
    paths = {line.split(None, 5)[-1] for line in maps.splitlines() if "openblas" in line}
    return tuple(ctypes.CDLL(path) for path in sorted(paths))


def _setter(library: ctypes.CDLL) -> ctypes._NamedFuncPointer | None:
    for name in SETTERS:
        if hasattr(library, name):
            function: ctypes._NamedFuncPointer = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_int], None
            return function
    return None
