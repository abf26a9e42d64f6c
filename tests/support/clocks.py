"""A clock that tests turn."""

from datetime import UTC, datetime, timedelta

from features.sources.spotify_transport import Patience


class Clock:
    """The time, which passes only when somebody waits."""

    def __init__(self) -> None:
        self.now_ = datetime(2026, 6, 1, 12, tzinfo=UTC)
        self.waits: list[float] = []

    def now(self) -> datetime:
        return self.now_

    def seconds(self) -> float:
        return self.now_.timestamp()

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_ += timedelta(seconds=seconds)

    def pass_by(self, **time: float) -> None:
        self.now_ += timedelta(**time)

    def patience(self, seconds: float = 1e9) -> Patience:
        return Patience(seconds, sleep=self.sleep, clock=self.seconds)
