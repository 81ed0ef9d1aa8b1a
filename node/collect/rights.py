"""Licence and consent: checked before anything is read, because every record carries both."""

from __future__ import annotations

import hashlib
import re

import msgspec

from node.collect.errors import WrongRights
from node.journal.sources import Consent

# SPDX identifiers (spdx.org/licenses) of licences that are used for data and text, and our own:
# schwung-use-1 lets the buyer use and train, not resell.
OPEN = (
    "CC0-1.0", "PDDL-1.0", "ODC-By-1.0", "ODbL-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0",
    "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "MIT", "MIT-0", "Apache-2.0", "BSD-2-Clause",
    "BSD-3-Clause", "ISC", "Unlicense", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later",
    "LGPL-3.0-only", "LGPL-3.0-or-later", "AGPL-3.0-only", "AGPL-3.0-or-later", "GFDL-1.3-or-later", "OGL-UK-3.0",
    "etalab-2.0", "DL-DE-BY-2.0", "DL-DE-ZERO-2.0",
)  # fmt: skip
RESTRICTED = ("schwung-use-1", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0")
_KNOWN = {name.casefold(): name for name in (*OPEN, *RESTRICTED)}
_OWN = re.compile(r"LicenseRef-[A-Za-z0-9.-]{1,21}")  # SPDX's form for any other; 32 bytes is what a contract keeps

STATEMENT_MOST = 20_000  # characters


def licence(name: str) -> str:
    """The licence in its proper spelling. Raises WrongRights."""
    if _OWN.fullmatch(name):
        return name
    if known := _KNOWN.get(name.strip().casefold()):
        return known
    raise WrongRights(
        f"licence {name[:80]!r} is not known: use an SPDX id such as CC0-1.0 or CC-BY-4.0, schwung-use-1, "
        "or LicenseRef-NAME for one of your own"
    )


def statement(text: str, licence_name: str) -> str:
    """The consent statement; an open licence is one by itself. Raises WrongRights."""
    stripped = text.strip()
    if len(stripped) > STATEMENT_MOST:
        raise WrongRights(f"the consent statement has {len(stripped)} characters, the limit is {STATEMENT_MOST}")
    if stripped:
        return stripped
    if licence_name in OPEN:
        return f"published under {licence_name}"
    raise WrongRights(f"{licence_name} is not an open licence: say under which consent the data may be used")


def make_consent(text: str, giver: str, given_at: int) -> Consent:
    """The consent with its hash: SHA-256 of the canonical JSON [statement, giver, given_at]."""
    digest = hashlib.sha256(msgspec.json.encode([text, giver, given_at])).hexdigest()
    return Consent(digest, text, giver, given_at)
