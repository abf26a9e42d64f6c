"""Ctrl-C and a polite kill, kept from who would swallow them."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

ENDING = (signal.SIGINT, signal.SIGTERM)
_MANY = 1024


@contextmanager
def ending_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM that came during the block end it as they would have without it.

    Dagster puts handlers of its own in place of the process's, makes of either signal an error that
    ends a step, swallows that, and leaves SIGTERM with the handler of SIGINT. So the numbers of
    what comes in are noted beside the handlers; after the block the process's own are back, and get
    what came. On other threads than the main one, where no handler runs, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = {number: signal.getsignal(number) for number in ENDING}
    reader, writer = socket.socketpair()
    with closing(reader), closing(writer):
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in own.items():
                if handler is not None:  # None: not set from Python
                    signal.signal(number, handler)
            came = b""
            with suppress(BlockingIOError):
                came = reader.recv(_MANY)
            for number in ENDING[::-1]:  # the kill counts, where both came
                if number in came:
                    signal.raise_signal(number)
