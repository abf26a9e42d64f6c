"""What can go wrong with a night as a whole."""


class NightError(Exception):
    """A night cannot run; the message says why and what to do."""


class LockLostError(NightError):
    """The lock that keeps other nights out is not ours any more; nothing more may be written."""
