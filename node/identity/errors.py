"""What can go wrong with keys.

IdentityError
├── KeyFileExposed       a key file that others can read
├── KeyFileDamaged       a key file or keystore that does not hold a key
├── WalletLocked         the passphrase is needed for this step
├── NoWallet             there is no wallet in this folder yet
├── WalletExists         there is one already
├── WrongPassphrase      the keystore does not open with it
└── PassphraseUnusable   the passphrase file is empty, missing or exposed
"""

from __future__ import annotations


class IdentityError(Exception):
    """Trouble with a key of this node; no key was changed."""

    kind = "identity"
    hint = "look at the message; keys lie in the node's folder"


class KeyFileExposed(IdentityError):
    kind = "key_exposed"
    hint = "chmod 600 the file; if others may have read it, move its money and make a new one"


class KeyFileDamaged(IdentityError):
    kind = "key_damaged"
    hint = "restore the file from a backup"


class WalletLocked(IdentityError):
    kind = "wallet_locked"
    hint = "unlock it: schwung wallet unlock"

    def __init__(self, message: str = "the wallet is locked") -> None:
        super().__init__(message)


class NoWallet(IdentityError):
    kind = "no_wallet"
    hint = "make one: schwung wallet create"

    def __init__(self, message: str = "this node has no wallet yet") -> None:
        super().__init__(message)


class WalletExists(IdentityError):
    kind = "wallet_exists"
    hint = "unlock the wallet that is there, or use another --datadir"


class WrongPassphrase(IdentityError):
    kind = "wrong_passphrase"
    hint = "try again; without the passphrase the wallet cannot be opened by anybody"

    def __init__(self, message: str = "the keystore does not open with this passphrase") -> None:
        super().__init__(message)


class PassphraseUnusable(IdentityError):
    kind = "passphrase_unusable"
    hint = "point wallet.passphrase_file at a file that holds the passphrase and only its owner can read"
