"""A pool: the candidates of a listener with their static components, kept for the next ranking."""

import hashlib
from collections.abc import Sequence
from datetime import date

import msgspec
import numpy as np

from features.listeners import Profile
from recommender.candidates import Source
from recommender.components import STATIC, evaluate
from recommender.listener import Listener
from recommender.tracks import Catalogue, IndexArray, Tracks

SOURCES = tuple(Source)
_PLACE = {source: place for place, source in enumerate(SOURCES)}


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    basis: str
    rows: bytes
    sources: bytes
    components: dict[str, bytes]
    inputs: bytes


class Pool(msgspec.Struct, frozen=True):
    """n candidates.

    Attributes
    ----------
    rows
        (n,) ascending catalogue rows; valid for the catalogue version in the pool's cache key.
    sources
        (n,) places in `SOURCES`.
    components
        Static component -> (n,) float64.
    """

    rows: IndexArray
    sources: np.ndarray
    components: dict[str, np.ndarray]

    def tracks(self, catalogue: Catalogue) -> Tracks:
        """Return the candidates' columns."""
        return catalogue.tracks.take(self.rows)

    def pack(self, basis: str, inputs: bytes) -> bytes:
        """Return the pool as a cache holds it.

        Parameters
        ----------
        basis, inputs
            From the functions of these names.
        """
        parts = {key: value.tobytes() for key, value in self.components.items()}
        sources = self.sources.astype(np.uint8).tobytes()
        return msgspec.msgpack.encode(_Packed(basis, self.rows.tobytes(), sources, parts, inputs))


def judge(
    catalogue: Catalogue, listener: Listener, rows: IndexArray, sources: list[Source]
) -> Pool:
    """Evaluate the static components of candidates."""
    places = np.array([_PLACE[source] for source in sources], dtype=np.uint8)
    return Pool(rows, places, evaluate(listener, catalogue.tracks.take(rows)))


def basis(listener: Listener, near: Sequence[str] = ()) -> str:
    """Return what of a listener a pool depends on and feedback leaves alone.

    Parameters
    ----------
    near
        What an outside source recommends to them.
    """
    traits = ",".join(f"{trait}={value:g}" for trait, value in sorted(listener.traits.items()))
    outside = hashlib.sha256("\x1f".join(near).encode()).hexdigest()[:16] if near else ""
    return f"{listener.stage}|{traits}|{outside}"


def inputs(profile: Profile, settings: Sequence[object], near: Sequence[str], day: date) -> bytes:
    """Return a digest of all that a pool follows from, beside the versions in its cache key.

    While it stays the same, proposing and judging again would give the same pool.

    Parameters
    ----------
    settings
        Those that candidates depend on.
    day
        Plays count less from day to day.
    """
    said = msgspec.msgpack.encode((profile, [str(one) for one in settings], list(near), day))
    return hashlib.blake2b(said, digest_size=16).digest()


def unpack(value: bytes, basis: str, inputs: bytes | None = None) -> Pool | None:
    """Return a pool from a cache's bytes, None if it was made on another basis or release.

    Parameters
    ----------
    inputs
        Those that it must have been made from; None: feedback may have changed them.
    """
    try:
        packed = msgspec.msgpack.decode(value, type=_Packed)
    except msgspec.DecodeError:
        return None
    if packed.basis != basis or set(packed.components) != set(STATIC):
        return None
    if inputs is not None and packed.inputs != inputs:
        return None
    return Pool(
        np.frombuffer(packed.rows, dtype=np.int64),
        np.frombuffer(packed.sources, dtype=np.uint8),
        {key: np.frombuffer(packed.components[key], dtype=np.float64) for key in STATIC},
    )
