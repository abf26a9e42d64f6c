"""Every way in which an outside source can fail, in one tree. None of it is ever kept as data."""

from datetime import datetime


class SourceError(Exception):
    """A source did not give what was asked; the message says what happened and what to do."""


class NotConfiguredError(SourceError):
    """There are no credentials for it."""


class SourceUnavailableError(SourceError):
    """It cannot be reached, breaks off, or answers nonsense, after several attempts."""


class EndpointClosedError(SourceError):
    """The application may not use this endpoint; it is not asked again before `until`."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class SourceLimitedError(SourceError):
    """Too many calls; there is a place again at `until`."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class NeedsReauthError(SourceError):
    """The listener's grant expired, was revoked or does not cover this: they must log in again."""


class NotFoundError(SourceError):
    """There is no such thing, or not in this market."""
