"""Folders for sockets: private, short, and the same for every command."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.servers import ServerError
from pipelines.servers.folders import make_socket_folder, private_folder, socket_folder


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a temporary directory that the code under test uses; pytest's own may be too long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def test_short_home_has_its_own(short: Path) -> None:
    home = private_folder(short / "h")
    assert make_socket_folder(home) == socket_folder(home) == home / "run"
    assert (home / "run").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["long" * 30, "two words", "a,b", "50%"])
def test_other_homes_have_a_short_one(tmp_path: Path, short: Path, name: str) -> None:
    home = private_folder(tmp_path / name)
    folder = make_socket_folder(home)
    assert folder.parent == short
    assert socket_folder(home) == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_short_folder_is_remembered(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = private_folder(tmp_path / "two words")
    folder = make_socket_folder(home)
    other = tmp_path / "u"
    other.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(other))
    assert make_socket_folder(home) == folder
    folder.rmdir()  # the system tidied up
    assert make_socket_folder(home) == folder


def test_two_homes_never_share(tmp_path: Path, short: Path) -> None:
    first, second = (private_folder(tmp_path / name) for name in ("a b", "b c"))
    folder = make_socket_folder(first)
    (second / "run").symlink_to(folder)  # as a copy of the first home has it
    assert make_socket_folder(second) != folder


def test_folder_open_to_others_is_refused(tmp_path: Path, short: Path) -> None:
    home = private_folder(tmp_path / "two words")
    make_socket_folder(home).chmod(0o755)
    with pytest.raises(ServerError, match="not a private folder"):
        make_socket_folder(home)


def test_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ServerError, match="cannot make the folder"):
        private_folder(tmp_path / "home")
