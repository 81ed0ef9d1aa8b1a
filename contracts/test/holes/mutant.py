"""What a mutant is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One hole: the text `before` of a source file becomes `after`, and the tests of the subject must notice."""

    file: str  # under src/, without .sol
    hole: str
    before: str
    after: str = ""
    tests: str = ""  # the contract whose tests must notice; the file's own by default

    @property
    def subject(self) -> str:
        return self.tests or self.file
