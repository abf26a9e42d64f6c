"""The catalogue is read in parts, and is the same whatever their size."""

import numpy as np
import pytest
import sqlalchemy as sa
from serving_world import make_world

from features import catalogue
from features.catalogue import NamedCatalogue, load_catalogue


def columns(named: NamedCatalogue) -> dict[str, list[object]]:
    """All of a catalogue, as it can be compared."""
    of = named.catalogue
    arrays = {name: value.tolist() for name, value in vars(of.tracks).items()}
    return arrays | {
        "ids": of.ids.tolist(),
        "artist_keys": of.artist_keys.tolist(),
        "genres": list(of.genres),
        "names": list(named.names),
        "artists": list(named.artists),
        "durations": [named.duration_ms_of(row) for row in range(len(of))],
    }


def test_parts_of_any_size_give_one_catalogue(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_world(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE tracks SET duration_ms = NULL, popularity = NULL, category = NULL,"
                " release_date = NULL, genres = '{}', track_name = 'Mötley “Ü”'"
                " WHERE track_id = 'track-011'"
            )
        )
        connection.execute(
            sa.text("UPDATE tracks SET canonical_id = 'track-290' WHERE track_id = 'track-004'")
        )
    whole = columns(load_catalogue(engine))
    monkeypatch.setattr(catalogue, "_AT_ONCE", 7)
    np.testing.assert_equal(columns(load_catalogue(engine)), whole)
    row = whole["ids"].index(b"track-011")
    assert whole["names"][row] == "Mötley “Ü”"
    assert whole["durations"][row] is None
    assert whole["durations"][0] == 200_000
    assert whole["genres"][row] == ()
    assert whole["recording"][4] == 290
    assert whole["recording"][5] == 5


def test_an_empty_catalogue_is_one(engine: sa.Engine) -> None:
    named = load_catalogue(engine)
    assert len(named.catalogue) == len(named.names) == 0
