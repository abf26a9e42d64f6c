"""The index on disk: built once, mapped by all, versioned with its catalogue."""

from pathlib import Path

import numpy as np
import pytest

from recommender.audio import FEATURES
from recommender.tracks import UNKNOWN_DATE, Catalogue, build_tracks
from serving import track_index


@pytest.fixture
def catalogue() -> Catalogue:
    rng = np.random.default_rng(1)
    n = 400
    return Catalogue(
        ids=np.array([b"%03d" % at for at in range(n)]),
        tracks=build_tracks(
            audio=rng.uniform(0.1, 1, (n, len(FEATURES))).astype(np.float32),
            artist=np.zeros(n, dtype=np.int64),
            popularity=np.zeros(n),
            category=[None] * n,
            genres=[()] * n,
            released=np.full(n, UNKNOWN_DATE),
        ),
        artist_keys=np.array([b"a"]),
        genres=[()] * n,
    )


def test_a_small_catalogue_needs_none(catalogue: Catalogue, tmp_path: Path) -> None:
    assert track_index.index_of(catalogue, "1-a", tmp_path / "indices") is None
    assert not (tmp_path / "indices").exists()


def test_the_second_worker_maps_what_the_first_built(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track_index, "EXACT", 100)
    first = track_index.index_of(catalogue, "1-a", tmp_path)
    written = (tmp_path / "1-a" / "audio.npy").stat().st_mtime_ns
    second = track_index.index_of(catalogue, "1-a", tmp_path)
    assert first is not None
    assert second is not None
    assert isinstance(second.audio, np.memmap)
    assert (tmp_path / "1-a" / "audio.npy").stat().st_mtime_ns == written
    assert len(second.rows) == 400


def test_a_new_version_takes_the_place_of_the_old(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track_index, "EXACT", 100)
    old = track_index.index_of(catalogue, "1-a", tmp_path)
    track_index.index_of(catalogue, "2-b", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["2-b"]
    assert old is not None
    assert len(np.array(old.audio)) == 400  # who maps it still has it


def test_a_damaged_index_is_built_anew(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track_index, "EXACT", 100)
    track_index.index_of(catalogue, "1-a", tmp_path)
    (tmp_path / "1-a" / "rows.npy").write_bytes(b"x")
    mended = track_index.index_of(catalogue, "1-a", tmp_path)
    assert mended is not None
    assert len(mended.rows) == 400
