"""PostgreSQL under root in every way that the machine allows, and under an ordinary user."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.servers import Postgres, ServerError, cluster, rights

PROGRAM = cluster.binaries() / "postgres"
ORDINARY_UID = 12345
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop rights")


@root_only
@pytest.mark.parametrize("word", ["setpriv", "drop.py", "unshare"])
def test_every_way_starts_and_restarts(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting = [way for way in rights.ways(None) if any(word in part for part in way)]
    monkeypatch.setattr(rights, "ways", lambda owner: fitting)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    try:
        rights.prefix(PROGRAM, home, None)
    except ServerError:
        pytest.skip(f"this machine does not let root use {word}")
    server = Postgres(home)
    try:
        server.start()
        server.stop()
        assert server.data.stat().st_uid == (0 if word == "unshare" else 65534)
        monkeypatch.undo()  # the owner of the data alone tells the way now
        server.start()
        assert server.running()
    finally:
        server.stop()


@root_only
def test_owner_of_the_data_tells_the_way() -> None:
    assert all("unshare" in way[0] for way in rights.ways(0))
    assert rights.ways(1000)
    assert all("1000" in " ".join(way) for way in rights.ways(1000))


def test_root_without_a_way_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rights, "ways", lambda owner: [["/bin/false"], ["/no/such/program"]])
    with pytest.raises(ServerError, match="set DATABASE_URL or run as an ordinary user"):
        rights.prefix(PROGRAM, tmp_path, None)


def test_ordinary_user_needs_nothing_for_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ORDINARY_UID)
    assert rights.prefix(PROGRAM, tmp_path, ORDINARY_UID) == []
    with pytest.raises(ServerError, match="the data of uid 65534"):
        rights.prefix(PROGRAM, tmp_path, 65534)


def test_ordinary_user_without_a_name_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ORDINARY_UID)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(ServerError, match="add one to /etc/passwd or set DATABASE_URL"):
        rights.prefix(PROGRAM, tmp_path, None)


LIFE = """
import sys
from pathlib import Path
from pipelines.servers import Postgres
server = Postgres(Path(sys.argv[1]))
try:
    server.start()
    print(server.data.stat().st_uid)
finally:
    server.stop()
"""


@root_only
def test_ordinary_user(tmp_path: Path) -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv to become another user with")
    nobody = 65534  # has a name, which initdb wants
    become = [setpriv, f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*become, *command], capture_output=True, check=False, text=True, cwd="/"
        )

    try:
        usable = run(sys.executable, "-c", "import pipelines.servers").returncode == 0
    except PermissionError:
        usable = False
    if not usable:
        pytest.skip(f"another user cannot use {sys.executable}: it is under a closed folder")
    home = Path("/tmp") / f"bondhu-test-{os.getpid()}"  # noqa: S108 - tmp_path is closed to others
    home.mkdir(mode=0o700)
    os.chown(home, nobody, nobody)
    try:
        done = run(sys.executable, "-c", LIFE, str(home))
        assert (done.stdout, done.stderr) == (f"{nobody}\n", "")
    finally:
        shutil.rmtree(home)
