"""What can go wrong with a night as a whole."""


class NightError(Exception):
    """A night cannot run; the message says why and what to do."""


class LockLostError(NightError):
    """The lock that keeps other nights out is not ours any more; nothing more may be written."""


def one_line(error: BaseException) -> str:
    """Return an error as one line, without what a database adds below its reason.

    Examples
    --------
    >>> one_line(ValueError("too small\\nsee above"))
    'ValueError: too small'
    """
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()
    return f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
