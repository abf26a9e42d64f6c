"""Commands run as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

from pipelines.servers import Endpoints

BONDHU = Path(sys.executable).parent / "bondhu"


def run(
    *arguments: str | Path, home: Path, servers: Endpoints | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DATABASE_URL", "REDIS_URL", "MLFLOW_TRACKING_URI", "BONDHU_DATA")
    }
    if servers is not None:
        clean |= {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    return subprocess.run(
        [BONDHU, *map(str, arguments)],
        env=clean | {"BONDHU_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def assert_one_line(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ran.returncode == 1
    (line,) = [line for line in ran.stderr.splitlines() if line.strip()]
    assert line.startswith("bondhu: ")
    for word in words:
        assert word in line
    assert "Traceback" not in ran.stderr
