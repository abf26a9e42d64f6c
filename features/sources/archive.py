"""What somebody hands over: a zip, a folder or one file, opened with bounds on everything.

Nothing is unpacked onto the disk, names are only compared, sizes are counted while reading: what a
zip says of itself is not believed.
"""

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import orjson

from features.imports import InputError

MOST_FILES = 2_000
LARGEST_FILE = 32 * 2**20
LARGEST_TOTAL = 2 * 2**30
_CHUNK = 2**20

Member = tuple[str, bytes]


def members(path: Path, wanted: re.Pattern[str]) -> Iterator[Member]:
    """Yield (name, content) of the wanted files, in the order of their names.

    Parameters
    ----------
    path
        A zip, a folder, or one file, which is taken whatever it is called.
    wanted
        Matched against the last part of a name.

    Raises
    ------
    InputError
        Damaged, encrypted, too large, or nothing wanted in it.
    """
    try:
        if path.is_dir():
            yield from _of_folder(path, wanted)
        elif zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
            with path.open("rb") as file:
                yield from _of_zip(file, str(path), wanted)
        else:
            with path.open("rb") as file:
                yield path.name, _bounded(file, path.name, [0])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def parsed(name: str, content: bytes) -> Any:
    """Return a JSON file's value.

    Raises
    ------
    InputError
        It is not whole.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    try:  # what orjson refuses and Python's own reader takes: half a surrogate pair in a name
        return json.loads(content)
    except (ValueError, RecursionError):
        raise InputError(
            f"{name} is not whole JSON ({reason}): fetch the export again; nothing was stored"
        ) from None


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's file names and sizes."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            digest.update(f"{file.relative_to(path)} {file.stat().st_size}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _of_folder(folder: Path, wanted: re.Pattern[str]) -> Iterator[Member]:
    found = sorted(p for p in folder.rglob("*") if p.is_file() and wanted.fullmatch(p.name))
    if not found:
        raise _nothing(str(folder))
    _check_count(str(folder), len(found))
    total = [0]
    for file in found:
        with file.open("rb") as opened:
            yield file.name, _bounded(opened, file.name, total)


def _of_zip(file: IO[bytes], name: str, wanted: re.Pattern[str]) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(file)
        listed = archive.infolist()
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError):
        raise InputError(f"{name} is no whole zip: fetch it again") from None
    _check_count(name, len(listed))
    chosen = [
        info for info in listed
        if not info.is_dir() and wanted.fullmatch(re.split(r"[/\\]", info.filename)[-1])
    ]  # fmt: skip
    if not chosen:
        raise _nothing(name)
    total = [0]
    for info in sorted(chosen, key=lambda info: info.filename):
        if info.flag_bits & 1:
            raise InputError(f"{info.filename} in {name} is encrypted: unpack it yourself first")
        yield info.filename, _whole(partial(archive.open, info), info.filename, total)


def _whole(open_member: Callable[[], IO[bytes]], name: str, total: list[int]) -> bytes:
    try:
        with open_member() as member:
            return _bounded(member, name, total)
    except (
        zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError,
    ):  # fmt: skip
        raise InputError(f"{name} is damaged or cut off: fetch the zip again") from None


def _bounded(file: IO[bytes], name: str, total: list[int]) -> bytes:
    content = bytearray()
    while chunk := file.read(_CHUNK):
        content += chunk
        total[0] += len(chunk)
        if len(content) > LARGEST_FILE or total[0] > LARGEST_TOTAL:
            raise InputError(
                f"{name} holds more than {LARGEST_FILE >> 20} MB, or all files more than"
                f" {LARGEST_TOTAL >> 20} MB: no export does; nothing was stored"
            )
    return bytes(content)


def _check_count(name: str, count: int) -> None:
    if count > MOST_FILES:
        raise InputError(f"{name} holds {count} files, {MOST_FILES} at most: no export does")


def _nothing(name: str) -> InputError:
    return InputError(
        f"{name} holds no listening history: hand over the zip as it was sent (of Spotify:"
        " 'Extended streaming history' or 'Account data')"
    )
