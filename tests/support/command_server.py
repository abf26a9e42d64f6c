"""Runs commands in forks of one process that has imported what they need, some seconds each time.

A line of JSON comes in on stdin (`arguments`, `environment`, `folder`, and the files `stdout` and
`stderr`), the exit code goes out on stdout. The end of stdin ends it.
"""

import atexit
import json
import os
import sys
import traceback
from typing import Any

import features.sources.world  # noqa: F401
import training.review.appraisal
import training.review.comparison_page
import training.search  # noqa: F401
from pipelines.cli import main
from training.registry import Registry  # noqa: F401


def command(asked: dict[str, Any]) -> int:
    """Become the command, print where it was asked to, and return its exit code."""
    for number, place in ((0, os.devnull), (1, asked["stdout"]), (2, asked["stderr"])):
        file = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = ["bondhu", *asked["arguments"]]
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    else:
        code = 0
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


def serve() -> None:
    """Do one command after another."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = None
            try:
                code = command(json.loads(line))
            finally:
                if code is None:  # an error that nothing expects: as Python shows it
                    traceback.print_exc()
                sys.stderr.flush()
                os._exit(1 if code is None else code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
