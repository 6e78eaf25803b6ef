"""Errors that a user can act on: shown as one line by the command line, as exceptions by the API."""


class AptError(Exception):
    """Base of every error that names what was given, what is allowed and what to do next."""


class DataError(AptError, ValueError):
    """A label, transcript, vector, table or archive file does not hold what it must hold."""


class ClipError(AptError, RuntimeError):
    """A clip cannot be read; ``code`` is one of the codes in :mod:`apt_lightning.data.faults`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StoreError(AptError, RuntimeError):
    """A feature store is absent, of another version, or does not hold what was asked of it."""


class CheckpointError(AptError, RuntimeError):
    """A checkpoint is absent, damaged, or of another stage than the one asked for."""


class UsageError(AptError, ValueError):
    """A command or option was used in a way that cannot work."""
