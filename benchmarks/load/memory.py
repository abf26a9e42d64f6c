"""Memory of everything that works for a program: its children, and servers started in a folder."""

import os
import threading
import time
from pathlib import Path

import psutil

EVERY_SECONDS = 0.25
RESTS = 19
"""Times as long as a sample took are rested after it: the kernel counts the pages of a process, and
for a gigabyte in a dozen of processes that was a quarter of a core."""


class PeakMemory(threading.Thread):
    """Samples the memory of this process, of what it started, and of what works in a folder.

    A page that several processes share (PostgreSQL's buffers) counts once: the sum is of
    proportional set sizes. Between two samples a peak can be missed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._ended = threading.Event()
        self.peaks: dict[str, tuple[float, float]] = {}
        """Of what went on -> the largest MiB of all processes, and of this one."""
        self.doing = "start"

    def run(self) -> None:
        """Sample until the end is called for."""
        rest = EVERY_SECONDS
        while not self._ended.wait(rest):
            began = time.perf_counter()
            whole, own = self.mebibytes()
            rest = max(EVERY_SECONDS, RESTS * (time.perf_counter() - began))
            before = self.peaks.get(self.doing, (0.0, 0.0))
            self.peaks[self.doing] = max(before[0], whole), max(before[1], own)

    def end(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join()

    def mebibytes(self) -> tuple[float, float]:
        """Return what all processes hold now, and what this one does."""
        here = psutil.Process()
        own = here.memory_full_info().pss / 2**20
        whole = own
        mine = {child.pid for child in here.children(recursive=True)}
        for process in psutil.process_iter():
            if process.pid == os.getpid():
                continue
            try:
                if process.pid in mine or self._folder in Path(process.cwd()).parents:
                    whole += process.memory_full_info().pss / 2**20
            except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
                continue
        return whole, own
