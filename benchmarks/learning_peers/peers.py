"""The other end of `server`: makes the peers' environment, and asks it as a learner."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray

HERE = Path(__file__).parent
LOCK = HERE / "requirements.txt"

GRID: dict[str, tuple[str, ...]] = {
    "vw": (
        "--epsilon 0.1",
        "--epsilon 0.02",
        "--epsilon 0.02 -l 0.1",
        "--epsilon 0.02 -l 2",
        "--epsilon 0.02 --ignore u",
        "--bag 3",
        "--cover 3",
        "--softmax --lambda 10",
    ),
    "mabwiser": (
        "linucb 0.1",
        "linucb 0.5",
        "linucb 1.0",
        "lints 0.1",
        "lints 0.3",
        "lints 1.0",
        "ucb1 0.1",
        "ucb1 0.5",
    ),
}
"""What each library is tuned over, on seeds that are not reported: eight settings, as ours."""


def environment() -> Path:
    """Return the interpreter of the peers' environment, made at first need under the cache folder.

    Raises
    ------
    OSError, subprocess.CalledProcessError
        It cannot be made; the benchmark says why and goes without.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / "bondhu-benchmarks" / f"learning-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r"]
        subprocess.run([*command, str(LOCK)], check=True, timeout=600)
        (folder / "ready").touch()
    return python


class Peer:
    """One bandit of a library; also a learner of `training.simulation`."""

    def __init__(
        self, python: Path, library: str, options: str, traits: FloatArray, *, c: int, seed: int
    ) -> None:
        self._process = subprocess.Popen(
            [str(python), str(HERE / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._events: list[FloatArray] = []
        start = {"do": "start", "library": library, "options": options, "c": c, "seed": seed}
        self._ask(start, traits)

    def _ask(self, message: dict[str, object], array: FloatArray) -> FloatArray:
        sink: IO[bytes] | None = self._process.stdin
        source: IO[bytes] | None = self._process.stdout
        if sink is None or source is None:
            raise OSError("the peer's process has no pipes")
        whole = message | {"shapes": [array.shape]}
        sink.write(json.dumps(whole).encode() + b"\n" + np.ascontiguousarray(array).tobytes())
        sink.flush()
        line = source.readline()
        if not line:
            raise OSError(f"the peer's process ended with {self._process.wait()}")
        shape = json.loads(line)["shape"]
        return np.frombuffer(source.read(8 * int(np.prod(shape)))).reshape(shape)

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Tell what happened since, and return what the library makes of each category."""
        events = np.concatenate(self._events) if self._events else np.zeros((0, 4))
        self._events = []
        values = self._ask({"do": "values"}, events)
        return values, np.zeros(values.shape)

    def learn(
        self,
        listener: NDArray[np.int64],
        category: NDArray[np.int64],
        reward: FloatArray,
        propensity: FloatArray,
    ) -> None:
        """Keep what is told with the next question."""
        self._events.append(np.stack([listener, category, reward, propensity], axis=1))

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout=10)
