"""Keys: texts as sorted fixed-width bytes, looked up by bisection; small, and no objects."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def sorted_keys(texts: Iterable[str]) -> NDArray[np.bytes_]:
    """Return the distinct texts as UTF-8 bytes, ascending.

    Examples
    --------
    >>> sorted_keys(["blur", "abba", "blur"])
    array([b'abba', b'blur'], dtype='|S4')
    """
    encoded = sorted({text.encode() for text in texts})
    return np.array(encoded, dtype=np.bytes_) if encoded else np.array([], dtype="S1")


def places(keys: NDArray[np.bytes_], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Return each text's place among sorted keys, -1 for one that is not there.

    Examples
    --------
    >>> places(sorted_keys(["abba", "blur"]), ["blur", "cher", "abba"])
    array([ 1, -1,  0])
    """
    if not len(keys) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.int64)
    # Fixed-width bytes end at their first NUL: a key with one would pass for another.
    needles = np.array([b"" if "\0" in text else text.encode() for text in wanted], np.bytes_)
    at = np.minimum(np.searchsorted(keys, needles), len(keys) - 1)
    found: NDArray[np.int64] = np.where(keys[at] == needles, at, -1)
    return found
