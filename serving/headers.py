"""A request's headers, as the server hands them over: lower-case names and values in bytes."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of that name, None where there is none.

    Starlette's own look-up encodes the name again for every header, and costs several times this.

    Examples
    --------
    >>> header({"headers": [(b"host", b"here"), (b"accept", b"*/*")]}, b"accept")
    '*/*'
    """
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None
