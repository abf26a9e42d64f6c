"""The built bento: what is in it, and that it serves by itself."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving_world import SECRET

from features.settings import ROOT, Settings
from pipelines.serving_process import stop
from serving.auth import issue_token

HEAVY = ("mlflow", "sklearn", "pandas", "scipy", "alembic", "matplotlib")


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the bento and return its folder."""
    home = tmp_path_factory.mktemp("bentoml")
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build", str(ROOT)],
        env=os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        check=True,
        capture_output=True,
    )
    (built,) = (path for path in (home / "bentos" / "bondhu").iterdir() if path.is_dir())
    return built


def test_it_holds_what_answers_and_nothing_else(bento: Path) -> None:
    assert {path.name for path in (bento / "src").iterdir()} == {
        "bentofile.yaml",
        "serving",
        "features",
        "recommender",
    }
    assert not (bento / "src" / "features" / "migrations").exists()


def test_a_worker_imports_nothing_heavy(bento: Path) -> None:
    code = (
        "import sys; import serving.service, serving.api; "
        f"print(sorted(set({HEAVY!r}) & {{name.split('.')[0] for name in sys.modules}}),"
        " serving.service.__file__)"
    )
    # -P and PYTHONPATH: the code must come out of the bento, not out of this checkout.
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=bento / "src",
        env=os.environ | {"PYTHONPATH": str(bento / "src")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.strip() == f"[] {bento / 'src' / 'serving' / 'service.py'}"


@pytest.fixture
def address(bento: Path, settings: Settings) -> Iterator[str]:
    """Serve the bento from its folder and return its address once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", str(bento), "--port", str(port)],
        cwd=bento,
        env=os.environ
        | {
            "PYTHONPATH": str(bento / "src"),
            "DATABASE_URL": str(settings.database_url),
            "REDIS_URL": str(settings.redis_url),
            "BONDHU_HOME": str(settings.home),
            "BONDHU_JWT_SECRET": SECRET,
            "BENTOML_DO_NOT_TRACK": "True",
        },
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, "the bento ended while starting"
            try:
                if httpx.get(f"{base}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield base
    finally:
        stop(process)


def test_it_serves(address: str) -> None:
    token = issue_token(SECRET, "ada", now=int(time.time()))
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}) as client:
        listed = client.post("/v1/recommend", json={})
        metrics = client.get("/metrics").text
        answers = {
            path: client.get(path).status_code
            for path in ("/livez", "/readyz", "/docs.json", "/", "/nothing-here")
        }
        anonymous = httpx.post(f"{address}/v1/recommend", json={})
    assert listed.status_code == 200
    assert listed.json()["total_count"] == 50
    assert 'bondhu_answers_total{route="/v1/recommend",status="200"} 1.0' in metrics
    assert answers == {
        "/livez": 200,
        "/readyz": 200,
        "/docs.json": 200,
        "/": 200,
        "/nothing-here": 404,
    }
    assert anonymous.status_code == 401
    assert anonymous.headers["WWW-Authenticate"] == "Bearer"
