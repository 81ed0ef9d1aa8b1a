"""Small numbers for names that occur often, so that a column of them compares at once."""

from __future__ import annotations

UNKNOWN = -1


class Names:
    """A number for every name in use; one that nobody uses any more is given away again."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._names: list[str] = []
        self._uses: list[int] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._codes)

    def find(self, name: str) -> int:
        """The number of a name; UNKNOWN when nobody uses it."""
        return self._codes.get(name, UNKNOWN)

    def take(self, name: str) -> int:
        """The number of a name that is used once more."""
        code = self._codes.get(name)
        if code is None:
            code = self._free.pop() if self._free else len(self._names)
            if code == len(self._names):
                self._names.append(name)
                self._uses.append(0)
            self._codes[name], self._names[code] = code, name
        self._uses[code] += 1
        return code

    def release(self, code: int) -> None:
        """Used once less."""
        self._uses[code] -= 1
        if not self._uses[code]:
            del self._codes[self._names[code]]
            self._names[code] = ""
            self._free.append(code)
