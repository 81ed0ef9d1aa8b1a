"""What can go wrong around embedders.

EmbedError
├── EmbedderMissing      no model where one was expected
├── ModelUnsupported     a model is there, but its files or inputs are not of a kind we can run
└── InstallFailed        the default model could not be fetched or converted
"""

from __future__ import annotations


class EmbedError(Exception):
    """Root of this package's errors; the message says what to do."""

    kind = "embedder"
    hint = "`schwung embedder install` makes the default model; `embedding.model_dir` names another one"


class EmbedderMissing(EmbedError):
    """There is no model in the folder that was named."""


class ModelUnsupported(EmbedError):
    """The model's files are damaged, or its inputs and outputs are not those of a text encoder."""


class InstallFailed(EmbedError):
    """Fetching or converting the default model did not succeed; nothing was left half-done."""

    hint = "check the way to the package index and the space on the disk, then try again"
