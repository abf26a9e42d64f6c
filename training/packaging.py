"""A model's files: JSON beside a manifest of hashes, written whole and believed only if it fits.

``manifest.json`` is {file name: sha256 of its bytes}. The registry keeps the manifest's own sha256,
so that who can write into the folder of artifacts still cannot change a model.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from training.errors import RegistryError

MANIFEST = "manifest.json"


def sha256(content: bytes) -> str:
    """Return the hexadecimal sha256.

    Examples
    --------
    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def write_package(folder: Path, files: Mapping[str, bytes]) -> str:
    """Write files and their manifest into an existing folder; return the manifest's sha256."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / MANIFEST).write_bytes(_manifest(files))
    return model_sha256(files)


def model_sha256(files: Mapping[str, bytes]) -> str:
    """Return the sha256 of a model: that of the manifest of its files.

    Examples
    --------
    >>> one, other = ("a.json", b"{}"), ("b.npy", b"")
    >>> model_sha256(dict([one, other])) == model_sha256(dict([other, one]))
    True
    """
    return sha256(_manifest(files))


def _manifest(files: Mapping[str, bytes]) -> bytes:
    hashes = {name: sha256(content) for name, content in files.items()}
    return (json.dumps(hashes, indent=1, sort_keys=True) + "\n").encode()


def read_package(folder: Path, manifest_sha256: str | None = None) -> dict[str, bytes]:
    """Read every file of a manifest.

    Parameters
    ----------
    manifest_sha256
        What the manifest's own hash must be; None: whatever it is.

    Raises
    ------
    RegistryError
        A file is missing, or not what its hash says.
    """
    manifest = _read(folder / MANIFEST)
    if manifest_sha256 is not None and sha256(manifest) != manifest_sha256:
        raise RegistryError(f"{folder / MANIFEST} is not what was registered: do not use it")
    try:
        hashes: dict[str, str] = json.loads(manifest)
    except ValueError:
        raise RegistryError(f"{folder / MANIFEST} is not JSON: do not use it") from None
    files = {name: _read(folder / name) for name in hashes}
    for name, expected in hashes.items():
        if sha256(files[name]) != expected:
            raise RegistryError(f"{folder / name} is not what was registered: do not use it")
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RegistryError(f"{path} cannot be read ({error.strerror})") from None
