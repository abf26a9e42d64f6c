"""The index of audio space on disk: built once per catalogue version, mapped by every worker."""

import logging
import shutil
import tempfile
from pathlib import Path

from recommender.audio_index import AudioIndex
from recommender.candidates import EXACT
from recommender.errors import ModelFormatError
from recommender.tracks import Catalogue

log = logging.getLogger("bondhu")


def index_of(catalogue: Catalogue, version: str, folder: Path) -> AudioIndex | None:
    """Return the index of a catalogue version; None where every track can be judged anyway.

    The first worker that asks builds it beside its place and moves it there whole; those of other
    versions go, except from the memory of who still maps them.

    Parameters
    ----------
    folder
        Where indices are kept, one folder per version.
    """
    if len(catalogue) <= EXACT:
        return None
    place = folder / version
    if place.is_dir():
        try:
            return AudioIndex.open(place)
        except ModelFormatError as error:
            log.warning("Building the index anew: %s", error)
            shutil.rmtree(place, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
    try:
        AudioIndex.of(catalogue.tracks).save(fresh)
        fresh.rename(place)
    except OSError:
        if not place.is_dir():  # another worker was not first: there is no place for it
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    for other in folder.iterdir():
        if other.name != version and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
    return AudioIndex.open(place)
