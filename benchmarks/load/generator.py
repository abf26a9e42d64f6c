"""Load in a process of its own: closed loop (so many connections) or open loop (so many a second).

One thread over epoll and bare sockets: it costs a few per cent of a core at thousands of requests a
second, and says how much. Requests are bytes made beforehand; an answer is whole once its
Content-Length is there. In an open loop the time of a request starts when it was due, so that a
server which stops answering is not spared (no coordinated omission).

    python -m benchmarks.load.generator REQUESTS.json < /dev/null > RESULT.json
"""

import json
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

CACHES = (b'"cache":"hit"', b'"cache":"rerank"', b'"cache":"miss"')
KINDS = ("hit", "rerank", "miss", "other")


@dataclass
class Plan:
    """What to send.

    Attributes
    ----------
    requests
        Whole HTTP requests, sent in this order again and again.
    per_second
        Open loop; 0: closed loop.
    """

    host: str
    port: int
    connections: int
    seconds: float
    requests: list[str]
    per_second: float = 0.0
    repeat: bool = True


@dataclass
class Outcome:
    """What came back: milliseconds by kind of answer, counts by status, the generator's share."""

    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    errors: int = 0
    bytes: int = 0
    cpu_share: float = 0.0


class _Connection:
    __slots__ = ("buffer", "due", "socket", "wanted")

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.wanted = 0
        self.due = 0.0

    def send(self, request: bytes, due: float) -> None:
        self.due, self.wanted = due, 0
        self.buffer.clear()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what is there; return whether the answer is whole."""
        part = self.socket.recv(262_144)
        if not part:
            raise ConnectionError
        self.buffer += part
        if not self.wanted:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(self.buffer[:end]).lower()
            at = head.index(b"content-length:") + 15
            self.wanted = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
        return len(self.buffer) >= self.wanted


def run(plan: Plan) -> Outcome:
    """Send the plan's requests until its time is over, and return what came back."""
    requests = [text.encode() for text in plan.requests]
    outcome = Outcome(milliseconds={kind: [] for kind in KINDS})
    selector = selectors.DefaultSelector()
    idle = deque(_Connection(plan.host, plan.port) for _ in range(plan.connections))
    for connection in idle:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    sent = 0
    cpu = time.process_time()
    began = time.perf_counter()
    ends = began + plan.seconds
    total = None if plan.repeat else len(requests)
    busy = 0
    while True:
        now = time.perf_counter()
        over = now >= ends or (total is not None and sent >= total)
        while idle and not over:
            due = began + sent / plan.per_second if plan.per_second else now
            if due > now:
                break
            connection = idle.popleft()
            connection.send(requests[sent % len(requests)], due)
            sent, busy = sent + 1, busy + 1
            over = total is not None and sent >= total
        if over and not busy:
            break
        wait = 1.0
        if plan.per_second and idle and not over:
            wait = max(0.0, began + sent / plan.per_second - time.perf_counter())
        for key, _ in selector.select(wait):
            connection = key.data
            try:
                if not connection.receive():
                    continue
            except (ConnectionError, ValueError):
                outcome.errors += 1
                selector.unregister(connection.socket)
                connection.socket.close()
                connection = _Connection(plan.host, plan.port)
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            else:
                _count(outcome, connection)
            busy -= 1
            idle.append(connection)
        if now > ends + 30:
            outcome.errors += busy
            break
    outcome.seconds = time.perf_counter() - began
    outcome.cpu_share = (time.process_time() - cpu) / outcome.seconds
    return outcome


def _count(outcome: Outcome, connection: _Connection) -> None:
    took = (time.perf_counter() - connection.due) * 1000
    status = connection.buffer[9:12].decode()
    outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
    outcome.bytes += len(connection.buffer)
    # The metadata is at the end of an answer.
    tail = bytes(connection.buffer[-1500:])
    kind = next((k for k, c in zip(KINDS, CACHES, strict=False) if c in tail), "other")
    outcome.milliseconds[kind].append(round(took, 3))


def main() -> None:
    """Run the plan of a file."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    json.dump(asdict(run(plan)), sys.stdout)


if __name__ == "__main__":
    main()
