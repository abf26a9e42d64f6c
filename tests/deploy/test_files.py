"""The files of deploy/ pass their linters; the container holds what a worker needs."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from features.settings import ROOT, Settings

DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def lint(*command: str | Path) -> None:
    ran = subprocess.run(
        [*map(str, command)], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("file", ["Dockerfile", "Dockerfile.nights"])
def test_hadolint(file: str) -> None:
    lint(BIN / "hadolint", file)


def test_yamllint() -> None:
    lint(BIN / "yamllint", "--strict", "compose.yaml", "dagster.yaml", "kubernetes")


@pytest.mark.parametrize("version", ["1.31.0", "1.37.0"])
def test_kubernetes_schemas(version: str) -> None:
    lint(BIN / "kubernetes-validate", "--strict", "-k", version, "kubernetes/bondhu.yaml")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


def documents() -> dict[str, Any]:
    read = yaml.safe_load_all((DEPLOY / "kubernetes" / "bondhu.yaml").read_text())
    return {document["kind"]: document for document in read}


def test_the_pods_are_hardened_and_probed() -> None:
    found = documents()
    pod = found["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    probes = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")
    }
    assert probes == {"liveness": "/livez", "readiness": "/readyz"}
    assert set(container["resources"]) == {"requests", "limits"}
    assert {"PodDisruptionBudget", "HorizontalPodAutoscaler", "Service"} <= set(found)
    labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    for kind in ("StatefulSet", "PodDisruptionBudget"):
        assert found[kind]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_every_variable_is_one_that_the_service_reads() -> None:
    known = {name.upper() for name in Settings.model_fields} | {"BENTOML_CONFIG_OPTIONS"}
    for service in ("bondhu-1", "bondhu-2", "nights", "probe-1", "probe-2"):
        assert set(services()[service]["environment"]) <= known
    assert set(documents()["ConfigMap"]["data"]) <= known


def test_what_is_ours_runs_without_rights_and_keeps_what_it_writes_in_a_volume() -> None:
    for service in ("bondhu-1", "bondhu-2", "nights", "probe-1", "probe-2", "mlflow"):
        found = services()[service]
        assert found["read_only"] is True
        assert found["user"] == "10001"
        assert found["cap_drop"] == ["ALL"]
        assert [v.partition(":")[2] for v in found["volumes"]] == ["/var/lib/bondhu"]
        assert found["volumes"][0].partition(":")[0] in compose()["volumes"]


def test_workers_and_nights_name_the_same_servers() -> None:
    addresses = ("DATABASE_URL", "REDIS_URL", "MLFLOW_TRACKING_URI")
    named = [
        [services()[service]["environment"][name] for name in addresses]
        for service in ("bondhu-1", "bondhu-2", "nights", "probe-1", "probe-2")
    ]
    assert named[1:] == named[:-1]
    hosts = [re.split(r"[/@:]+", address.removesuffix("/bondhu")) for address in named[0]]
    assert [words[-2] if words[-1].isdigit() else words[-1] for words in hosts] == [
        "postgres",
        "redis",
        "mlflow",
    ]
    assert {"postgres", "redis", "mlflow"} <= set(services())
    (allowed,) = (word for word in services()["mlflow"]["command"] if "--allowed-hosts" in word)
    assert urlsplit(named[0][2]).netloc in allowed.partition("=")[2].split(",")


def test_the_daemon_starts_with_its_settings_read_only(tmp_path: Path) -> None:
    home, data = tmp_path / "dagster", tmp_path / "data"
    home.mkdir()
    text = (DEPLOY / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(text.replace("/var/lib/bondhu", str(data)))
    before = sorted(home.rglob("*"))
    ran = subprocess.run(
        [BIN / "dagster", "instance", "info"],
        env=os.environ | {"DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert str(data / "dagster") in ran.stdout
    assert sorted(home.rglob("*")) == before


def test_the_image_copies_the_floors_that_answer() -> None:
    answering = {"recommender", "features", "serving"}
    for file, floors in (
        ("Dockerfile", answering),
        ("Dockerfile.nights", answering | {"training", "pipelines"}),
    ):
        copied = re.findall(r"^COPY (\w+) /srv/", (DEPLOY / file).read_text(), re.M)
        assert set(copied) == floors
