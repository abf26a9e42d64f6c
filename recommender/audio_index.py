"""An index of audio space: the tracks nearest to what was heard, out of a million, in milliseconds.

Tracks lie in lists around centroids (k-means on the directions of audio rows). A search looks into
the lists whose centroids promise most, and judges their tracks exactly. Its arrays are .npy files
that workers map into memory: one copy serves all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recommender.audio import AudioArray, FloatArray
from recommender.errors import ModelFormatError
from recommender.tracks import IndexArray, Tracks

LISTS = 2_048
PROBES = 14
SAMPLE = 65_536
ROUNDS = 8
BLOCK = 16_384
_FILES = ("centroids", "starts", "rows", "audio")


@dataclass(frozen=True)
class AudioIndex:
    """n tracks in l lists.

    Attributes
    ----------
    centroids
        (l, 7) float32 of length 1.
    starts
        (l + 1,) int64: list i is starts[i] to starts[i + 1].
    rows
        (n,) int64 catalogue rows, a list's together.
    audio
        (n, 7) float32 audio rows of length 1, in the same order.
    """

    centroids: AudioArray
    starts: IndexArray
    rows: IndexArray
    audio: AudioArray

    @classmethod
    def of(cls, tracks: Tracks, *, lists: int = LISTS, seed: int = 7) -> "AudioIndex":
        """Index the tracks that stand for their recording and whose audio is fully known."""
        known = ~np.isnan(tracks.audio).any(axis=1) & (tracks.audio > 0).any(axis=1)
        rows = np.flatnonzero(known & (tracks.recording == tracks.row))
        audio = _unit(tracks.audio[rows])
        rng = np.random.default_rng(seed)
        lists = max(1, min(lists, len(rows) // 8))
        sample = audio[rng.choice(len(rows), min(SAMPLE, len(rows)), replace=False)]
        centroids = sample[:lists].copy()
        for _ in range(ROUNDS if len(sample) else 0):
            near = _nearest(sample, centroids)
            size = np.bincount(near, minlength=lists)
            total = [np.bincount(near, sample[:, f], minlength=lists) for f in range(7)]
            centroids[size > 0] = _unit(np.stack(total, axis=1)[size > 0].astype(np.float32))
        near = _nearest(audio, centroids) if len(rows) else np.empty(0, dtype=np.int64)
        order = np.argsort(near, kind="stable")
        starts = np.searchsorted(near[order], np.arange(len(centroids) + 1))
        return cls(centroids, starts.astype(np.int64), rows[order], audio[order])

    def search(
        self,
        promise: Callable[[AudioArray], FloatArray],
        *,
        probes: int = PROBES,
    ) -> tuple[IndexArray, AudioArray]:
        """Return the rows, and their audio, of the lists whose centroids promise most.

        Parameters
        ----------
        promise
            (m, 7) audio rows of length 1 -> (m,), the higher the better.
        """
        worth = promise(self.centroids)
        best = np.argpartition(-worth, min(probes, len(worth)) - 1)[:probes]
        spans = [slice(self.starts[at], self.starts[at + 1]) for at in np.sort(best).tolist()]
        return (
            np.concatenate([self.rows[span] for span in spans]),
            np.concatenate([self.audio[span] for span in spans]),
        )

    def nearest(
        self, heard: AudioArray, weight: FloatArray, *, probes: int = PROBES
    ) -> tuple[IndexArray, FloatArray]:
        """Return rows and how near they are: max_i weight_i cos(c, heard_i) / the largest weight.

        Parameters
        ----------
        heard
            (h, 7) audio rows; those that are not fully known take no part.
        """
        known = ~np.isnan(heard).any(axis=1) & (np.nan_to_num(heard) > 0).any(axis=1)
        if not known.any() or not len(self.rows):
            return self.rows[:0], np.empty(0)
        wanted = _unit(heard[known]) * (weight[known] / weight[known].max())[:, None]
        directions = wanted.astype(np.float32).T

        def near(audio: AudioArray) -> FloatArray:
            best: FloatArray = (audio @ directions).max(axis=1)
            return best

        rows, audio = self.search(near, probes=probes)
        return rows, near(audio)

    def save(self, folder: Path) -> None:
        """Write the arrays into an existing folder."""
        for name in _FILES:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def open(cls, folder: Path) -> "AudioIndex":
        """Map the arrays of a folder; nothing is read before it is needed.

        Raises
        ------
        ModelFormatError
            They are not an index's.
        """
        try:
            arrays = [
                np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in _FILES
            ]
        except (OSError, ValueError, EOFError) as error:
            raise ModelFormatError(f"the index in {folder} cannot be read ({error})") from None
        centroids, starts, rows, audio = arrays
        if len(starts) != len(centroids) + 1 or len(rows) != len(audio) or starts[-1] != len(rows):
            raise ModelFormatError(f"the index in {folder} does not fit itself: delete it")
        return cls(centroids, starts, rows, audio)


def _unit(audio: NDArray[np.float32]) -> AudioArray:
    unit: AudioArray = audio / np.sqrt((audio * audio).sum(axis=1, keepdims=True))
    return unit


def _nearest(audio: AudioArray, centroids: AudioArray) -> IndexArray:
    blocks = [
        (audio[at : at + BLOCK] @ centroids.T).argmax(axis=1) for at in range(0, len(audio), BLOCK)
    ]
    near: IndexArray = np.concatenate(blocks).astype(np.int64)
    return near
