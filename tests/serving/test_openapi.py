"""The OpenAPI document against the wire: every check that Schemathesis has, on generated requests.

A few dozen cases in a test run; every phase and 2,000 cases and more where CI asks for them
(OPENAPI_EXAMPLES per call, OPENAPI_CASES in all).
"""

import asyncio
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
import uvicorn
from cryptography.fernet import Fernet
from pydantic import SecretStr
from serving_world import SECRET, opened
from spotify_server import SpotifyStandIn, running

from features.settings import Settings
from serving import api

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "4"))
PHASES = "examples,coverage,fuzzing,stateful" if "OPENAPI_EXAMPLES" in os.environ else "fuzzing"


@pytest.fixture
def spotify() -> Iterator[SpotifyStandIn]:
    """Nothing that is generated goes to Spotify itself."""
    with running() as stand_in:
        yield stand_in


async def test_the_document_matches_the_wire(
    settings: Settings, tmp_path: Path, spotify: SpotifyStandIn
) -> None:
    key = SecretStr(Fernet.generate_key().decode())
    told = {"spotify_client_id": "id", "spotify_client_secret": key, "bondhu_token_key": key}
    there = {"spotify_api_url": spotify.url, "spotify_accounts_url": spotify.url}
    generous = settings.model_copy(update={"user_rate_limit": 1_000_000, **told, **there})
    claims = {"sub": "backend", "iss": "bondhu", "aud": "bondhu", "exp": int(time.time()) + 3600}
    token = jwt.encode(claims | {"role": "service"}, SECRET)
    async with opened(generous) as client:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            base = f"http://127.0.0.1:{listening.getsockname()[1]}"
            config = uvicorn.Config(
                api.build(client.application), log_level="warning", lifespan="off"
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            command = [
                str(Path(sys.executable).parent / "schemathesis"),
                "--config-file", str(HERE / "schemathesis.toml"),
                "run", f"{base}/docs.json", "--url", base, "--wait-for-schema", "10",
                "--checks", "all", "--phases", PHASES, "--seed", "1",
                "--max-examples", str(EXAMPLES),
                "--generation-database", "none", "--no-color",
                "--exclude-path-regex", "^/(livez|readyz|metrics)$",  # BentoML's own
                "--header", f"Authorization: Bearer {token}",
            ]  # fmt: skip
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output = (await process.communicate())[0].decode()
            server.should_exit = True
            await serving
    assert process.returncode == 0, output[-6000:]
    found = re.search(r"([\d,]+) generated", output)
    assert found, output[-3000:]
    cases = int(found.group(1).replace(",", ""))
    print(f"{cases} cases")
    assert cases >= int(os.environ.get("OPENAPI_CASES", "20"))
