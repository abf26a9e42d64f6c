"""A worker as the container runs it: an ordinary user, everything but its home read-only."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from serving_world import SECRET, make_world, register

from features.database import connect
from features.migrations import migrate
from features.settings import ROOT
from pipelines.servers import Postgres
from pipelines.servers.redis import _program
from pipelines.serving_process import stop
from recommender.scoring import PRIOR
from serving.auth import issue_token

OTHERS = {".git", ".pytest_cache", "__pycache__", "mlruns"}
"""What other tests may write to at the same moment: `git describe`, pytest, imports, trainings."""
UID = 10001
DAC_READ_SEARCH = 1 << 2


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="bondhu-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def outsider(home: Path) -> list[str]:
    """Return a command's beginning that makes it nobody special; as an ordinary user, nothing."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv to give root up with")
    os.chown(home, UID, UID)
    begin = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]
    # It may read what root may, the interpreter perhaps being in root's home; it may write nothing.
    begin += ["--securebits=+no_setuid_fixup", "--bounding-set=-all,+dac_read_search"]
    return [*begin, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]


def fill(postgres: Postgres, folder: Path) -> None:
    postgres.start()
    engine = connect(postgres.url)
    migrate(engine)
    make_world(engine)
    register(engine, folder / "models", 1, PRIOR)
    engine.dispose()


def test_a_worker_needs_no_rights_and_writes_nowhere_else(open_folder: Path) -> None:
    postgres = Postgres(open_folder / "server")
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        redis_port, port = one.getsockname()[1], two.getsockname()[1]
    redis = subprocess.Popen(
        [_program(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""],
        cwd=open_folder,
        stdout=subprocess.DEVNULL,
    )
    process = None
    try:
        fill(postgres, open_folder)
        home, scratch = open_folder / "home", open_folder / "tmp"
        home.mkdir()
        scratch.mkdir(mode=0o777)
        scratch.chmod(0o777)
        command = [*outsider(home), sys.executable, "-m", "bentoml", "serve"]
        command += ["serving.service:service", "--working-dir", str(ROOT), "--quiet"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        before = set(ROOT.rglob("*"))
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(scratch),
                "TMPDIR": str(scratch),
                "BENTOML_HOME": str(scratch / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
                "PYTHONDONTWRITEBYTECODE": "1",
                "DATABASE_URL": postgres.url,
                "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
                "BONDHU_HOME": str(home),
                "BONDHU_JWT_SECRET": SECRET,
            },
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        base = f"http://127.0.0.1:{port}"
        for _ in range(900):
            assert process.poll() is None, "the service ended while starting"
            with suppress(httpx.TransportError):
                if httpx.get(f"{base}/readyz").status_code == 200:
                    break
            time.sleep(0.1)
        bearer = {"Authorization": f"Bearer {issue_token(SECRET, 'ada', now=int(time.time()))}"}
        answer = httpx.post(f"{base}/v1/recommend", json={}, headers=bearer)
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        written = {path for path in set(ROOT.rglob("*")) - before if not OTHERS & {*path.parts}}
        kept = {path.name for path in home.rglob("*")}
    finally:
        if process is not None:
            stop(process)
        redis.terminate()
        redis.wait()
        postgres.stop()
    assert answer.status_code == 200
    assert answer.json()["total_count"] == 50
    assert set(status["Uid"].split()) == {str(UID if os.geteuid() == 0 else os.geteuid())}
    assert set(status["Uid"].split()) != {"0"}
    assert int(status["CapEff"], 16) & ~DAC_READ_SEARCH == 0
    assert not written
    assert {"feedback.jsonl", "last-good.json"} <= kept
