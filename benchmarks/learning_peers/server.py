"""Runs in the peers' environment: holds one bandit, answers over stdin and stdout.

Each message is a line of JSON, {"do": ..., "shapes": [...]}, then the arrays' bytes (float64).
Imports nothing of Bondhu.
"""

import json
import logging
import sys
from typing import Any

import numpy as np


class Vowpal:
    """Vowpal Wabbit's contextual bandit: the listener's id and traits are its features."""

    def __init__(self, options: str, traits: np.ndarray, c: int, seed: int) -> None:
        from vowpalwabbit import Workspace  # noqa: PLC0415 - only in the peers' environment

        self._vw = Workspace(f"--cb_explore {c} {options} --random_seed {seed} --quiet")
        self._features = [
            f"|u u{u} |t {' '.join(f't{i}:{2 * x - 1:.3f}' for i, x in enumerate(row))}"
            for u, row in enumerate(traits.tolist())
        ]

    def values(self) -> np.ndarray:
        """Return the probability of each action for each listener."""
        return np.array([self._vw.predict(features) for features in self._features])

    def learn(self, events: np.ndarray) -> None:
        """Learn from rows of (listener, category, reward, probability)."""
        for u, action, reward, probability in events.tolist():
            label = f"{int(action) + 1}:{-reward:.4f}:{max(probability, 1e-3):.4f}"
            self._vw.learn(f"{label} {self._features[int(u)]}")


class MabWiser:
    """MABWiser: a linear bandit on the traits, or one without context."""

    def __init__(self, options: str, traits: np.ndarray, c: int, seed: int) -> None:
        from mabwiser.mab import MAB, LearningPolicy  # noqa: PLC0415 - as above

        kind, value = options.split()
        policies = {
            "linucb": LearningPolicy.LinUCB,
            "lints": LearningPolicy.LinTS,
            "ucb1": LearningPolicy.UCB1,
        }
        self._mab = MAB(list(range(c)), policies[kind](alpha=float(value)), seed=seed)
        self._c = c
        self._x = np.hstack([np.ones((len(traits), 1)), 2 * traits - 1])
        self._has_context = kind.startswith("lin")
        every = np.arange(c)
        self._fit(every, np.zeros(c), np.zeros(c, dtype=int), first=True)

    def _fit(self, action: Any, reward: Any, listener: Any, *, first: bool = False) -> None:
        fit = self._mab.fit if first else self._mab.partial_fit
        context = {"contexts": self._x[listener]} if self._has_context else {}
        fit(decisions=action, rewards=reward, **context)

    def values(self) -> np.ndarray:
        """Return what the library expects of each arm, its exploration included."""
        if not self._has_context:
            found = self._mab.predict_expectations()
            row = np.array([found[arm] for arm in range(self._c)])
            return np.tile(row, (len(self._x), 1))
        found = self._mab.predict_expectations(self._x)
        return np.array([[row[arm] for arm in range(self._c)] for row in found])

    def learn(self, events: np.ndarray) -> None:
        """Learn from rows of (listener, category, reward, probability)."""
        if len(events):
            self._fit(events[:, 1].astype(int), events[:, 2], events[:, 0].astype(int))


KINDS = {"vw": Vowpal, "mabwiser": MabWiser}


def main() -> None:
    """Answer until stdin ends."""
    logging.disable(logging.WARNING)
    bandit: Any = None
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        message = json.loads(line)
        arrays = [
            np.frombuffer(source.read(8 * int(np.prod(shape)))).reshape(shape)
            for shape in message.get("shapes", [])
        ]
        if message["do"] == "start":
            kind = KINDS[message["library"]]
            bandit = kind(message["options"], arrays[0], message["c"], message["seed"])
            answer = np.zeros((0, 0))
        elif message["do"] == "values":
            bandit.learn(arrays[0])
            answer = np.ascontiguousarray(bandit.values(), dtype=np.float64)
        else:
            raise ValueError(f"unknown message {message['do']}")
        sink.write(json.dumps({"shape": answer.shape}).encode() + b"\n" + answer.tobytes())
        sink.flush()


if __name__ == "__main__":
    main()
