"""What training registers is what the service loads: by SQL, and through a tracking server."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from features.database import mlflow_uri
from features.settings import ROOT
from recommender.errors import ModelFormatError
from recommender.scoring import PRIOR, Scorer
from serving.model_registry import find, load_champion, open_registry
from training.registry import Registry
from training.scorer_flavour import KIND


def deployed_hosts() -> str:
    """Return the option that lets deploy/compose.yaml's workers call it by its name."""
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    (found,) = (o for o in compose["services"]["mlflow"]["command"] if "allowed-hosts" in o)
    return str(found)


@pytest.fixture
def tracking_server(tmp_path: Path) -> Iterator[str]:
    """Run MLflow's own server, which keeps the artifacts too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    command += [f"{deployed_hosts()},127.0.0.1:{port}"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(900):
            assert process.poll() is None, "the tracking server ended while starting"
            try:
                if httpx.get(f"{address}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it leaves processes of its own after SIGTERM
        process.wait()


def assert_same(tracking_uri: str, folder: Path) -> None:
    trained = Registry(tracking_uri, folder)
    version = trained.ensure_prior()
    served = open_registry(tracking_uri)
    try:
        loaded = load_champion(served, "scorer", Scorer)
        assert loaded.version == version.number == 1
        assert loaded.model == trained.load(KIND, 1) == PRIOR
        with pytest.raises(ModelFormatError, match="bondhu train qtable"):
            find(served, "qtable")
    finally:
        served.close()


def test_by_sql(database_url: str, mlflow_tables: None, tmp_path: Path) -> None:
    # MLflow remembers addresses that it made tables at; this database is a new one at an old one.
    address = mlflow_uri(database_url) + f"&application_name={tmp_path.name}"
    assert_same(address, tmp_path / "mlruns")


def test_through_a_tracking_server(tracking_server: str, tmp_path: Path) -> None:
    assert_same(tracking_server, tmp_path / "unused")
    assert not (tmp_path / "unused").exists()
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    named = compose["services"]["bondhu-1"]["environment"]["MLFLOW_TRACKING_URI"]
    question = f"{tracking_server}/api/2.0/mlflow/registered-models/alias"
    asked = {"name": "scorer", "alias": "champion"}
    for host, code in ((urlsplit(named).netloc, 200), ("elsewhere:5000", 403)):
        assert httpx.get(question, params=asked, headers={"Host": host}).status_code == code


def test_a_changed_artifact_is_refused(
    database_url: str, mlflow_tables: None, tmp_path: Path
) -> None:
    address = mlflow_uri(database_url) + f"&application_name={tmp_path.name}"
    Registry(address, tmp_path / "mlruns").ensure_prior()
    (artifact,) = (tmp_path / "mlruns").rglob("scorer.json")
    artifact.write_text(artifact.read_text().replace("0.8", "0.7").replace("0.2", "0.3"))
    served = open_registry(address)
    with pytest.raises(ModelFormatError, match="not what was registered"):
        load_champion(served, "scorer", Scorer)
    served.close()
