"""The files of deploy/ pass their linters; the container holds what a worker needs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def test_hadolint() -> None:
    lint(BIN / "hadolint", "Dockerfile")


def test_yamllint() -> None:
    lint(BIN / "yamllint", "--strict", "compose.yaml", "kubernetes")


@pytest.mark.parametrize("version", ["1.31.0", "1.37.0"])
def test_kubernetes_schemas(version: str) -> None:
    lint(BIN / "kubernetes-validate", "--strict", "-k", version, "kubernetes/bondhu.yaml")


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
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in ("bondhu-1", "bondhu-2"):
        assert set(compose["services"][service]["environment"]) <= known
        assert compose["services"][service]["read_only"] is True
        assert compose["services"][service]["user"] == "10001"
    assert set(documents()["ConfigMap"]["data"]) <= known


def test_the_image_copies_the_floors_that_answer() -> None:
    copied = set(re.findall(r"^COPY (\w+) /srv/", (DEPLOY / "Dockerfile").read_text(), re.M))
    assert copied == {"recommender", "features", "serving"}
