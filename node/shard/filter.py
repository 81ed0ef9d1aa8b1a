"""Which records are meant: a value that becomes an SQL condition with every text safely quoted.

LanceDB takes conditions as text only (its expression objects do not reach `delete` and `count_rows`). The dialect is
DataFusion's: a text stands between single quotes, a quote inside is doubled, a backslash means itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that must all hold; None does not ask. `min_quality` is the overall score in ppm."""

    domain: str | None = None
    language: str | None = None
    origin: str | None = None
    owner: str | None = None
    dataset: int | None = None
    deal: str | None = None
    subject: str | None = None
    source: str | None = None
    licence: str | None = None
    min_quality: int | None = None

    def sql(self) -> str:
        """The condition, '' when everything is meant."""
        equal = [
            f"{name} = {literal(value)}"
            for name in self.__struct_fields__
            if name != "min_quality" and (value := getattr(self, name)) is not None
        ]
        if self.min_quality is not None:
            equal.append(f"q_overall >= {literal(self.min_quality)}")
        return " AND ".join(equal)


EVERYTHING = Filter()


def literal(value: str | int) -> str:
    """An SQL literal."""
    if isinstance(value, int):
        return str(int(value))
    return "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """`column IN (…)`; the column is ours, the values may be anybody's."""
    return f"{column} IN ({', '.join(literal(value) for value in values)})"


def both(*conditions: str) -> str:
    """The conjunction of those that are not empty."""
    return " AND ".join(f"({condition})" for condition in conditions if condition)
