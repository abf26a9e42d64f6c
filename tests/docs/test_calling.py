"""docs/calling.md: its examples run in one shell, in curl and in Python, against a service.

What the page cannot know is put in: the address, and where the program is that makes tokens.
"""

import asyncio
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
import uvicorn
from pydantic import SecretStr
from serving_world import SECRET, make_world, opened, register

from features.settings import ROOT, Settings
from recommender.scoring import PRIOR
from serving import api

pytestmark = pytest.mark.anyio

TEXT = (ROOT / "docs" / "calling.md").read_text(encoding="utf-8")
ADDRESS = "http://localhost:3000"
PROGRAM = ".venv/bin/bondhu"
MAIN = f"{sys.executable} -c 'from pipelines.cli import main; main()'"
NEXT = "# the next example"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


async def run(*command: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output


async def test_every_example_runs(
    engine: sa.Engine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    make_world(engine)
    register(engine, tmp_path, 1, PRIOR)
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        bondhu_jwt_secret=SecretStr(SECRET),
        bondhu_home=tmp_path / "home",
    )
    async with opened(settings) as client:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            base = f"http://127.0.0.1:{listening.getsockname()[1]}"
            config = uvicorn.Config(
                api.build(client.application), log_level="warning", lifespan="off"
            )
            server = uvicorn.Server(config)
            running = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            environment = {
                "BONDHU_JWT_SECRET": SECRET,
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "BONDHU_HOME": str(tmp_path / "home"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            }
            settled, curl = blocks("sh")
            assert ADDRESS in settled
            assert PROGRAM in settled
            script = [
                settled.replace(ADDRESS, base).replace(PROGRAM, MAIN),
                curl.replace("curl -s", "curl -sf") if shutil.which("curl") else "",
                f'for code; do echo; echo "{NEXT}"; python -c "$code"; done',
            ]
            said, over_http, in_process = (
                await run("sh", "-ec", "\n".join(script), "sh", *blocks("python"), **environment)
            ).split(f"\n{NEXT}\n")
            if shutil.which("curl"):
                assert '"explanation"' in said
                assert '"reward":1.0' in said
                assert '"feedback":{"like":1}' in said
            server.should_exit = True
            await running
    assert re.search(r"^Song \d+ - artist\d+ : ", over_http)
    assert "reward 1.19" in over_http
    assert "{'personality': " in over_http
    assert in_process.splitlines()[0] == "10 month_2_plus"
