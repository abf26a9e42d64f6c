"""The pooled rule: merging is exact, a burst is bounded, beliefs move from all to one's own."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import pooled
from recommender.errors import ModelFormatError
from recommender.pooled import Pairs, consistency_of, shrunk
from recommender.qtable import REWARD_RANGE, QTable, burst_bound
from recommender.rewards import HIGHEST, LOWEST

CALM = "extraversion_low|openness_med|energy_low|genre_folk"
LOUD = "extraversion_low|openness_med|energy_high|genre_folk"
ROCK = "extraversion_low|openness_med|energy_high|genre_rock"
LOGS = st.lists(
    st.tuples(
        st.sampled_from([CALM, LOUD, ROCK]),
        st.floats(18_000, 24_000),
        st.floats(LOWEST, HIGHEST),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(LOGS, st.randoms())
def test_parts_in_any_order_add_up_to_the_whole(
    log: list[tuple[str, float, float, int]],
    random: "st.randoms.Random",  # type: ignore[name-defined]
) -> None:
    whole = QTable.of([row[:3] for row in log])
    parts = [QTable.of([row[:3] for row in log if row[3] == part]) for part in range(4)]
    random.shuffle(parts)
    merged = parts[0] + parts[1] + parts[2] + parts[3]
    assert merged.sums.keys() == whole.sums.keys()
    for state, sums in whole.sums.items():
        for name in ("weight", "reward", "square"):
            scale = max(1.0, sums.weight)
            assert math.isclose(
                getattr(merged.sums[state], name), getattr(sums, name), abs_tol=1e-9 * scale
            )


def test_a_late_reader_sees_old_verdicts_fade() -> None:
    now = QTable.of([(CALM, 20_454.0, 1.0)] * 40, as_of_day=20_454.0)
    later = QTable(now.sums, now.pairs, 20_454.0 + 5 * pooled.HALF_LIFE_DAYS)
    assert 0 < later.believed([CALM])[0][0] < now.believed([CALM])[0][0]


def test_newcomers_start_from_personality_and_category() -> None:
    table = QTable.of([(CALM, 20_454.0, 1.0)] * 300 + [(ROCK, 20_454.0, -0.4)] * 300)
    folk, rock, unheard, stranger = table.believed(
        [CALM, ROCK, LOUD, "extraversion_high|openness_med|energy_high|genre_folk"]
    )[0]
    assert rock < 0 < stranger < unheard < folk < 1


def test_own_visits_take_over() -> None:
    table = QTable.of([(CALM, 20_454.0, 1.0)] * 300)
    values = [
        float(table.believed([CALM], {CALM: (n, -0.4 * n)})[0][0]) for n in (0.0, 5.0, 50.0, 5e3)
    ]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(-0.4, abs=0.01)
    spreads = [float(table.believed([CALM], {CALM: (n, 0.0)})[1][0]) for n in (0.0, 5.0, 50.0)]
    assert spreads == sorted(spreads, reverse=True)


def test_what_is_said_of_a_category_bears_on_its_other_states() -> None:
    none, said = (QTable().believed([LOUD], own)[0][0] for own in ({}, {CALM: (3.0, 3.0)}))
    assert said > none == 0
    assert QTable().believed([ROCK], {CALM: (3.0, 3.0)})[0][0] == 0


@given(st.floats(0, 1e4), st.floats(LOWEST, HIGHEST), st.floats(LOWEST, HIGHEST))
def test_a_burst_is_bounded(weight: float, mean: float, burst: float) -> None:
    n = pooled.VISITS_PER_DAY
    before = shrunk(np.array([weight * mean]), np.array([weight]), 0.0, 1e-9)[0]
    after = shrunk(np.array([weight * mean + n * burst]), np.array([weight + n]), 0.0, 1e-9)[0]
    if weight > 1:
        assert abs(after - before) <= burst_bound(weight) + 1e-9
    assert REWARD_RANGE >= HIGHEST - LOWEST


def test_consistency_is_the_share_of_variance_between_listeners() -> None:
    rng = np.random.default_rng(1)
    taste = rng.normal(0, 0.5, 40_000)
    x, y = (taste + rng.normal(0, 1, len(taste)) for _ in range(2))
    pleased = x > 0.3  # a policy comes back only to what pleased
    found = consistency_of(
        [
            Pairs(
                float(pleased.sum()),
                *(float(v[pleased].sum()) for v in (x, y, x * x, x * y)),
            )
        ]
    )
    assert found == pytest.approx(0.25 / 1.25, abs=0.03)


def test_damaged_files_are_refused() -> None:
    files = dict(QTable.of([(CALM, 20_454.0, 1.0)]).to_files())
    with pytest.raises(ModelFormatError, match=r"sums\.npy' is missing"):
        QTable.from_files({"qtable.json": files["qtable.json"]})
    with pytest.raises(ModelFormatError, match=r"damaged|does not fit"):
        QTable.from_files(files | {"sums.npy": files["sums.npy"][:-4]})
    with pytest.raises(ModelFormatError, match="different half-lives"):
        _ = QTable() + QTable(half_life_days=1.0)
