"""The exception tree of models.

    ModelError
    ├── TooLittleData     not enough usable records to train, or to judge what was trained
    ├── NotBetter         the held-out gate: the model does not beat what was there before
    ├── NotYours          only the owner of a dataset may doubt the weights of a model
    ├── TooLate           the window in which weights can be doubted is over
    ├── UnknownModel      no such model here, nor any card of it
    ├── BadArtifact       a model's files are missing, or not the ones its card names
    ├── BadCall           a request this node refuses before it costs anybody anything
    ├── PaymentRequired   the provider wants a voucher, or a larger one; carries the terms
    ├── NoProvider        nobody who serves the model could be reached
    └── WrongReceipt      a provider's answer whose receipt does not fit what was asked and paid

`kind` becomes `error.data.kind` at the JSON-RPC border, `hint` says what to do.
"""

from __future__ import annotations


class ModelError(Exception):
    """Anything that goes wrong with a model."""

    kind = "model_error"
    hint = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint


class TooLittleData(ModelError):
    kind = "too_little_data"
    hint = "collect or buy more records of this domain, then train again"


class NotBetter(ModelError):
    kind = "not_better"
    hint = "train on more or other records; force=true publishes it all the same"


class NotYours(ModelError):
    kind = "not_mine"
    hint = "`schwung insights earnings` lists the models that your datasets are in"


class TooLate(ModelError):
    kind = "too_late"
    hint = "`schwung models get` shows until when a model's weights can be challenged"


class UnknownModel(ModelError):
    kind = "unknown_model"
    hint = "`schwung models list` prints the models this node knows"


class BadArtifact(ModelError):
    kind = "bad_artifact"
    hint = "train the model again"


class BadCall(ModelError):
    kind = "bad_call"


class PaymentRequired(ModelError):
    kind = "payment_required"


class NoProvider(ModelError):
    kind = "no_provider"
    hint = "check `schwung peers list`; the provider may be offline"


class WrongReceipt(ModelError):
    kind = "wrong_receipt"
    hint = "the provider is faulty or hostile; at most one unit was paid"
