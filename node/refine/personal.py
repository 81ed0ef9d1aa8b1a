"""Personal data that has a form: found, checked by its checksum, and replaced by what kind it was.

    redact("mail me at a@b.org")   ->   Redacted("mail me at [EMAIL]", {"email": 1})

A number is only taken for an account or a card when its check digits fit, so that article numbers and prices stay.
Names and postal addresses have no form and are not found here.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

KINDS = ("email", "iban", "card", "phone")  # in the order in which they claim a stretch of text
PLACEHOLDER = re.compile(r"\[(EMAIL|IBAN|CARD|PHONE)\]")


class Span(NamedTuple):
    """A find: what it is and where."""

    kind: str
    start: int
    end: int


class Redacted(msgspec.Struct, frozen=True):
    """The text with placeholders, and how many of each kind were put in."""

    text: str
    counts: dict[str, int]


def redact(text: str) -> Redacted:
    """Replace every find by `[KIND]`."""
    spans = find(text)
    parts, at = [], 0
    for span in spans:
        parts += [text[at : span.start], f"[{span.kind.upper()}]"]
        at = span.end
    return Redacted("".join([*parts, text[at:]]), dict(Counter(span.kind for span in spans)))


def find(text: str) -> list[Span]:
    """Personal data in the order of the text, without overlaps."""
    taken = bytearray(len(text))
    found = []
    for finder in (_emails, _ibans, _cards, _phones):
        for span in finder(text):
            if not any(taken[span.start : span.end]):
                taken[span.start : span.end] = b"\1" * (span.end - span.start)
                found.append(span)
    return sorted(found, key=lambda span: span.start)


# -- e-mail (RFC 5321 without quoted local parts; any script) ----------------------------------------------------------

_EMAIL = re.compile(
    r"[^\s@\uff20<>()\[\]\\,;:\"]{1,64}"
    r"(?:[@\uff20]|\s?[(\[]\s?at\s?[)\]]\s?)"
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:[^\W\d_]{2,63}|xn--[a-z0-9-]{2,59})",
    re.IGNORECASE,
)


def _emails(text: str) -> Iterator[Span]:
    return (Span("email", *match.span()) for match in _EMAIL.finditer(text))


# -- IBAN (ISO 13616: country, check digits, a length of its own for each country; ISO 7064 mod 97-10) -----------------

_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]{2}[0-9]{2})")
_IBAN_GAP = " -"


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN_START.finditer(text):
        length = _IBAN_LENGTHS.get(text[match.start() : match.start() + 2].upper())
        if length and (end := _iban_end(text, match.start(), length)) is not None:
            yield Span("iban", match.start(), end)


def _iban_end(text: str, start: int, length: int) -> int | None:
    """Where `length` letters and digits end that check, single gaps between them allowed."""
    compact, at = "", start
    while len(compact) < length and at < len(text):
        character = text[at]
        if character.isascii() and character.isalnum():
            compact += character.upper()
        elif character not in _IBAN_GAP or text[at - 1] in _IBAN_GAP:
            return None
        at += 1
    if len(compact) < length or (at < len(text) and text[at].isascii() and text[at].isalnum()):
        return None
    digits = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return at if int(digits) % 97 == 1 else None


# -- payment cards (ISO/IEC 7812: issuer ranges, lengths, Luhn) --------------------------------------------------------

_DIGITS = re.compile(r"(?<!\d)(?<!\d[.,])\d(?:[ .\-\u2010-\u2013]?\d){12,}")
_ISSUERS = (
    (re.compile("4"), {16, 19}),  # Visa; its 13 digits died out, and article numbers (EAN) have 13
    (re.compile("5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)"), {16}),  # Mastercard
    (re.compile("3[47]"), {15}),  # American Express
    (re.compile("6011|64[4-9]|65|62"), {16, 17, 18, 19}),  # Discover, UnionPay
    (re.compile("3(?:0[0-5]|[689])"), {14, 16}),  # Diners
    (re.compile("35(?:2[89]|[3-8])"), {16}),  # JCB
    (re.compile("50|5[6-9]|6[0-9]"), {16, 18, 19}),  # Maestro
)
_CARD_LONGEST = 19


def _cards(text: str) -> Iterator[Span]:
    for match in _DIGITS.finditer(text):
        places = [index for index in range(*match.span()) if text[index].isdigit()]
        yield from _cards_within(text, places)


def _cards_within(text: str, places: list[int]) -> Iterator[Span]:
    """Cards in a run of digits; they begin and end at its groups, because an expiry date may follow the number."""
    first = 0
    while first < len(places):
        last = _card_end(text, places, first) if _begins_group(places, first) else None
        if last is not None:
            yield Span("card", places[first], places[last] + 1)
        first = first + 1 if last is None else last + 1


def _card_end(text: str, places: list[int], first: int) -> int | None:
    for last in range(min(first + _CARD_LONGEST, len(places)) - 1, first + 12, -1):
        if last + 1 == len(places) or _begins_group(places, last + 1):
            chosen = places[first : last + 1]
            if _evenly_grouped(chosen) and is_card("".join(str(int(text[place])) for place in chosen)):
                return last
    return None


def _evenly_grouped(places: list[int]) -> bool:
    """One block, or blocks of 2 to 7 digits as cards are printed: 2.718281828459045 passes Luhn's check too."""
    starts = [index for index in range(len(places)) if _begins_group(places, index)]
    sizes = [end - start for start, end in itertools.pairwise([*starts, len(places)])]
    return len(sizes) == 1 or all(2 <= size <= 7 for size in sizes)


def _begins_group(places: list[int], index: int) -> bool:
    return index == 0 or places[index] != places[index - 1] + 1


def is_card(digits: str) -> bool:
    """Whether the digits are of a known issuer and length, and Luhn's check digit fits."""
    return luhn(digits) and any(len(digits) in lengths and issuer.match(digits) for issuer, lengths in _ISSUERS)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    values = [int(digit) for digit in reversed(digits)]
    doubled = (sum(divmod(2 * value, 10)) for value in values[1::2])
    return (sum(values[0::2]) + sum(doubled)) % 10 == 0


# -- telephone ---------------------------------------------------------------------------------------------------------

_GAP = r"[ \u00a0./\-\u2010-\u2013]"
_PHONES = (
    # E.164 with + or 00: 8 to 15 digits in groups, an optional (0) or area code in brackets
    re.compile(rf"(?<![\w+])(?:\+|00)[1-9](?:{_GAP}?(?:\(\d{{1,4}}\)|\d)){{6,16}}(?!\d)"),
    # national with trunk 0: (030) 901820, 030 901820, 0171/1234567, 020 7946 0958, 01711234567
    re.compile(rf"(?<![\w+\-/])(?<!\d[.,])\(0\d{{1,5}}\)(?:{_GAP}?\d){{4,9}}(?![\d.,])"),
    re.compile(rf"(?<![\w+\-/:])(?<!\d[.,])0[1-9]\d{{0,4}}{_GAP}\d{{3,}}(?:{_GAP}?\d){{0,7}}(?![\d])"),
    re.compile(r"(?<![\w+\-/:])(?<!\d[.,])0[1-9]\d{8,10}(?!\d)"),
    # North America: (415) 555-0132, 415-555-0132, 415.555.0132, 1-415-555-0132
    re.compile(
        r"(?<![\w+\-/])(?<!\d[.,])(?:1[ .\-])?"
        r"(?:\([2-9]\d{2}\) ?[2-9]\d{2}[ .\-]|[2-9]\d{2}([.\-])[2-9]\d{2}\1)\d{4}(?![\d\-])"
    ),
    # Chinese mobile: 138 0013 8000
    re.compile(r"(?<![\d+\-/])(?<!\d[.,])1[3-9]\d[ \-]?\d{4}[ \-]?\d{4}(?!\d)"),
    # whatever follows the word for it
    re.compile(
        r"(?:\b(?:tel|telephone|telefon|phone|mobile|mobil|handy|fax|whatsapp|call me (?:at|on))|电话|手机|電話|电話)"
        rf"[.:：]{{0,2}}\s{{0,2}}(?P<number>\(?\d(?:{_GAP}?[\d()]){{5,16}})(?!\d)",
        re.IGNORECASE,
    ),
)  # fmt: skip
_PHONE_DIGITS = range(7, 16)


def _phones(text: str) -> Iterator[Span]:
    for pattern in _PHONES:
        group = "number" if "number" in pattern.groupindex else 0
        for match in pattern.finditer(text):
            if sum(character.isdigit() for character in match.group(group)) in _PHONE_DIGITS:
                yield Span("phone", *match.span(group))
