"""Commands run as a user runs them."""

import json
import os
import select
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from pipelines.servers import Endpoints

BONDHU = Path(sys.executable).parent / "bondhu"
SECONDS = 120
"""That a command may take."""
OURS = ("DATABASE_URL", "REDIS_URL", "MLFLOW_TRACKING_URI", "BONDHU_DATA")


def run(
    *arguments: str | Path, home: Path, servers: Endpoints | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a fork of a process that has imported what commands need."""
    words = [str(one) for one in arguments]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "stdout"), Path(folder, "stderr")
        asked = {
            "arguments": words,
            "environment": _surroundings(home, servers, environment),
            "folder": os.getcwd(),
            "stdout": str(out),
            "stderr": str(err),
        }
        code = _answer(json.dumps(asked))
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


def run_fresh(
    *arguments: str | Path, home: Path, servers: Endpoints | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command by starting the program itself, which takes seconds."""
    return subprocess.run(
        [BONDHU, *map(str, arguments)],
        env=_surroundings(home, servers, {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def assert_one_line(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ran.returncode == 1
    (line,) = [line for line in ran.stderr.splitlines() if line.strip()]
    assert line.startswith("bondhu: ")
    for word in words:
        assert word in line
    assert "Traceback" not in ran.stderr


def _surroundings(
    home: Path, servers: Endpoints | None, environment: dict[str, str]
) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    if servers is not None:
        clean |= {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    return clean | {"BONDHU_HOME": str(home)} | environment


def _answer(line: str) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(line + "\n")
    server.stdin.flush()
    ready, _, _ = select.select([server.stdout], [], [], SECONDS)
    if not ready:
        server.kill()
        _server.cache_clear()
        raise TimeoutError(f"no end after {SECONDS} s: {line}")
    return int(server.stdout.readline())


@cache
def _server() -> subprocess.Popen[str]:
    """Start it once; it ends with this process, whose pipe it reads."""
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("command_server.py")],
        env=clean,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
