"""What can go wrong with a night as a whole."""


class NightError(Exception):
    """A night cannot run; the message says why and what to do."""
