"""Ctrl-C and a polite kill, kept from who would swallow them."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

ENDING = (signal.SIGINT, signal.SIGTERM)
AGAIN_SECONDS = 0.01
_MANY = 1024


@contextmanager
def ending_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block, and what is after it as they would have without it.

    Dagster puts handlers of its own in place of the process's, makes of either signal an error that
    ends a step, swallows that, and leaves SIGTERM with the handler of SIGINT. So the numbers of
    what comes in are noted beside the handlers; after the block the process's own are back, and get
    what came.

    Python itself loses what a handler raises while an object is being forgotten, as between two
    rows that are read: there the signal is sent once more. On other threads than the main one,
    where no handler runs, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = {number: signal.getsignal(number) for number in ENDING}
    reader, writer = socket.socketpair()
    with closing(reader), closing(writer):
        reader.setblocking(False)
        writer.setblocking(False)
        came: set[int] = set()
        repeats: list[threading.Timer] = []

        def read() -> None:
            with suppress(BlockingIOError):
                came.update(set(reader.recv(_MANY)) & set(ENDING))

        def lost(what: "sys.UnraisableHookArgs") -> None:
            read()
            if not came or isinstance(what.exc_value, Exception):
                hook(what)
                return
            repeats.append(threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), max(came))))
            repeats[-1].start()

        hook, sys.unraisablehook = sys.unraisablehook, lost
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            for number in ENDING:
                signal.signal(number, lambda *_: None)  # noted, as all before
            for repeat in repeats:
                repeat.cancel()
                repeat.join()
            sys.unraisablehook = hook
            signal.set_wakeup_fd(before)
            read()
            for number, handler in own.items():
                if handler is not None:  # None: not set from Python
                    signal.signal(number, handler)
            if came:
                signal.raise_signal(max(came))  # SIGTERM, where both came
