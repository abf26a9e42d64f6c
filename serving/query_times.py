"""How long queries take, by query: for /metrics.

A query is named by its verb and its first table. The statements are constants of the code, so that
there are few names; parameters never take part.
"""

import re
import time
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from serving.tally import TALLY

MOST_STATEMENTS = 500
_BEGAN = "bondhu_began"
_TABLE = re.compile(
    r"\b(?:from|into|update|join)\s+(?:only\s+)?([a-z_][a-z_0-9.]*)(?!\s*as\s*\()", re.IGNORECASE
)
_EXECUTE = re.compile(r"(?:^|; )EXECUTE (\w+)\(")
_CTE = re.compile(r"(?:\bwith\b|,)\s*([a-z_]+)\s+as\s*\(", re.IGNORECASE)


def measure_queries(engine: sa.Engine) -> None:
    """Observe every statement of an engine."""

    def before(connection: sa.Connection, *_: Any) -> None:
        connection.info[_BEGAN] = time.perf_counter()

    def after(connection: sa.Connection, _: Any, statement: str, *__: Any) -> None:
        TALLY.queried(name_of(statement), time.perf_counter() - connection.info[_BEGAN])

    sa.event.listen(engine, "before_cursor_execute", before)
    sa.event.listen(engine, "after_cursor_execute", after)


@lru_cache(maxsize=MOST_STATEMENTS)
def name_of(statement: str) -> str:
    """Return a statement's name.

    Examples
    --------
    >>> name_of("SELECT 1 FROM users u WHERE user_id = %(id)s")
    'select users'
    >>> name_of("WITH stale AS (UPDATE lists SET x = 1) UPDATE users SET y = 1")
    'update lists'
    >>> name_of("WITH l AS (SELECT r FROM users) INSERT INTO shown SELECT 1 FROM l")
    'insert shown'
    >>> name_of("EXECUTE look_before(%(user_id)s)")
    'execute look_before'

    Of several in one message, the last is what the message is for.

    >>> name_of("EXECUTE ensure_user(%(user_id_0)s); EXECUTE store_list(%(user_id_1)s)")
    'execute store_list'
    """
    if prepared := _EXECUTE.findall(statement):
        return f"execute {prepared[-1]}"
    text = re.sub(r"--[^\n]*", " ", statement)
    own = {name.lower() for name in _CTE.findall(text)}
    tables = [name.lower() for name in _TABLE.findall(text) if name.lower() not in own]
    written = re.search(r"\b(insert)\s+into|\b(update)\s+[a-z_]+|\b(delete)\s+from", text, re.I)
    if written:
        verb = next(word for word in written.groups() if word).lower()
        target = re.search(rf"\b{verb}\s+(?:into\s+|from\s+)?([a-z_][a-z_0-9.]*)", text, re.I)
        return f"{verb} {target.group(1).lower()}" if target else verb
    return f"select {tables[0]}" if tables else "select"
