"""Structured logs under the logger `bondhu`: one JSON object per line, with the request's id.

Tokens and personality never get here: messages name listeners, tracks and numbers only.
"""

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the call under way; asyncio.to_thread and tasks carry it on."""

OWN = "bondhu"
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def new_request_id() -> str:
    """Return an id that no other request has."""
    return os.urandom(8).hex()


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, template, request_id, extras.

    `template` is the message before its values were put in: what to search and count by.

    Examples
    --------
    >>> record = logging.LogRecord("bondhu", 20, "", 0, "Generated %d candidates", (300,), None)
    >>> line = json.loads(JsonLines().format(record))
    >>> line["message"], line["template"], line["level"]
    ('Generated 300 candidates', 'Generated %d candidates', 'INFO')
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "template": str(record.msg),
        }
        if identity := request_id.get():
            line["request_id"] = identity
        line |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def open_log(level: str, *, stream: TextIO | None = None) -> None:
    """Send everything under `bondhu` to stderr as JSON lines, from `level` on."""
    logger = logging.getLogger(OWN)
    logger.setLevel(level)
    logger.propagate = False
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers[:] = [handler]
    # uvicorn words a line for every answer if anybody could hear it; nobody would.
    logging.getLogger("uvicorn.access").propagate = False
