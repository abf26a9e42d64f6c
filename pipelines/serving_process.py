"""The service as a process: BentoML started, awaited and stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import httpx

from features.settings import ROOT

READY_SECONDS = 90.0


class ServiceError(Exception):
    """The service does not start or does not go on; the message says why and what to do."""


def check_port(host: str, port: int) -> None:
    """Fail unless the port is free.

    Raises
    ------
    ServiceError
        Another program has it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceError(
                f"port {port} cannot be used ({error.strerror}): choose another with --port N"
                f" (make: PORT=N)"
            ) from None


@contextmanager
def serving(
    environment: Mapping[str, str], *, host: str, port: int, workers: int
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the service for the length of a block, ready when the block begins.

    Parameters
    ----------
    environment
        The whole environment of the process.

    Raises
    ------
    ServiceError
        The port is taken, or the service ended or did not get ready.
    """
    check_port(host, port)
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:service"]
    command += ["--working-dir", str(ROOT), "--host", host, "--port", str(port)]
    command += ["--quiet"]  # warnings and errors only
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
        command,
        cwd=ROOT,
        env={
            **environment,
            "BENTOML_DO_NOT_TRACK": "True",
            # Each thread would have a heap of its own, and keep what it once needed.
            "MALLOC_ARENA_MAX": environment.get("MALLOC_ARENA_MAX", "1"),
            "BENTOML_CONFIG_OPTIONS": f"services.bondhu.workers={workers}",
        },
        start_new_session=True,  # one group to stop, and no Ctrl-C before we say so
        stdout=sys.stderr,
        stdin=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(process, f"http://{host}:{port}/readyz")
        yield process
    finally:
        stop(process)


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise ServiceError("the service ended while starting: see what it printed above")
        with suppress(httpx.TransportError):
            if httpx.get(address, timeout=2.0).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise ServiceError(
        f"the service was not ready after {READY_SECONDS:.0f} s: see what it printed above"
    )


def stop(process: "subprocess.Popen[bytes]", patience_seconds: float = 15.0) -> None:
    """Stop the service and all its workers."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
