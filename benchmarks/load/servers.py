"""Processes that a benchmark of the service starts: ours, the floors, and the load."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx

from benchmarks.load.generator import Outcome, Plan
from features.settings import ROOT
from pipelines.serving_process import stop

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    command: Sequence[str], port: int, environment: Mapping[str, str], ready: str
) -> Iterator[tuple["subprocess.Popen[bytes]", float]]:
    """Run a server for the length of a block; yields it with the seconds until it was ready."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment | {"BENTOML_DO_NOT_TRACK": "True", "MALLOC_ARENA_MAX": "1"},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended while starting")
            try:
                if httpx.get(f"http://{HOST}:{port}{ready}", timeout=2.0).is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.02)
        yield process, time.perf_counter() - began
    finally:
        stop(process)


def bento(name: str, workers: int, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment of a BentoML service of this repository."""
    target, service = {
        "bondhu": ("serving.service:service", "bondhu"),
        "empty": ("benchmarks.load.empty_service:Empty", "empty"),
    }[name]
    command = [sys.executable, "-m", "bentoml", "serve", target, "--working-dir", str(ROOT)]
    command += ["--host", HOST, "--port", str(port), "--quiet"]
    return command, {"BENTOML_CONFIG_OPTIONS": f"services.{service}.workers={workers}"}


def bare(port: int) -> list[str]:
    """Return the command of the bare server."""
    command = [sys.executable, "-m", "uvicorn", "benchmarks.load.bare_get:app", "--host", HOST]
    command += ["--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    return [*command, "--no-access-log", "--log-level", "warning", "--lifespan", "off"]


def load(plan: Plan) -> Outcome:
    """Run the generator in a process of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(asdict(plan), file)
        file.flush()
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.load.generator", file.name],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    return Outcome(**json.loads(ran.stdout))


def request(port: int, path: str, token: str = "", body: object = None) -> str:
    """Return an HTTP request as bytes that Latin-1 can write."""
    content = json.dumps(body or {})
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n{bearer}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n{content}"
    )


def worker_megabytes(process: "subprocess.Popen[bytes]") -> list[float]:
    """Return the resident memory of a server's processes, the biggest first."""
    sizes = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(
                line.split(":", 1) for line in status.read_text().splitlines() if ":" in line
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
        if _descends(int(lines["Pid"]), process.pid) and "VmRSS" in lines:
            sizes.append(int(lines["VmRSS"].split()[0]) / 1000)
    return sorted(sizes, reverse=True)


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False
