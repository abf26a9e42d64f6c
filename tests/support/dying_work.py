"""Work that kills its own process once, in the middle of all."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DiesOnce:
    """Does the work; at one item, the first time only, the process ends by kill -9.

    Parameters
    ----------
    mark
        A file that says that it has happened.
    after
        Seconds into the item; None: once it is done, before anybody hears of it.
    """

    work: Callable[[int], Any]
    mark: Path
    item: int
    after: float | None

    def __call__(self, item: int) -> Any:
        """Do an item, or die of it."""
        dies = item == self.item and not self.mark.exists()
        if dies:
            self.mark.write_text(str(os.getpid()))
            if self.after is not None:
                threading.Timer(self.after, os.kill, (os.getpid(), signal.SIGKILL)).start()
        result = self.work(item)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
