"""The last good versions on this machine's own disk: what is served while MLflow is away.

A copy is what a registry gave and this worker checked, with the same manifest of hashes; reading it
checks it again.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from recommender.errors import ModelFormatError
from serving.model_registry import check_files

POINTER = "last-good.json"

log = logging.getLogger("bondhu.models")


class _Pointer(msgspec.Struct, frozen=True):
    version: int
    manifest_sha256: str | None


class ModelCopies:
    """Copies of models, one folder per model and version.

    Parameters
    ----------
    folder
        Made when the first copy is kept. Where it cannot be written, nothing is kept and the log
        says so once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_writable = True

    def keep(
        self, name: str, version: int, manifest_sha256: str | None, files: Mapping[str, bytes]
    ) -> None:
        """Keep a version that was checked, as the last good one of its model."""
        if not self._is_writable:
            return
        place = self._folder / name / str(version)
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file, content in files.items():
                _write(place / file, content)
            pointer = _Pointer(version, manifest_sha256)
            _write(self._folder / name / POINTER, msgspec.json.encode(pointer))
            self._drop_others(name, version)
        except OSError as error:
            self._is_writable = False
            log.warning("No local copies of models are kept: %s cannot be written", error.filename)

    def last_good(self, name: str) -> tuple[int, dict[str, bytes]] | None:
        """Return the version kept last and its files; None where there is no whole copy."""
        try:
            pointer = msgspec.json.decode(
                (self._folder / name / POINTER).read_bytes(), type=_Pointer
            )
            place = self._folder / name / str(pointer.version)
            files = {path.name: path.read_bytes() for path in place.iterdir()}
            check_files(files, pointer.manifest_sha256, pointer.version)
        except (OSError, ValueError, KeyError, msgspec.DecodeError, ModelFormatError):
            return None
        return pointer.version, files

    def _drop_others(self, name: str, version: int) -> None:
        """Remove versions before the last two: a version that is being read stays."""
        numbers = sorted(int(p.name) for p in (self._folder / name).iterdir() if p.name.isdigit())
        for number in [n for n in numbers if n != version][:-1]:
            place = self._folder / name / str(number)
            for path in place.iterdir():
                path.unlink(missing_ok=True)
            place.rmdir()


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_bytes(content)
    fresh.replace(path)
