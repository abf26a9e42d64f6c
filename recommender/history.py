"""How much each part of a listening history says about the listener now."""

import math

HALF_LIFE_DAYS = 90.0
"""A play from 90 days ago says half of what one from today says."""


def play_weight(play_count: int, age_days: float) -> float:
    """Return ln(1 + play_count) * 2 ** (-age_days / 90), the weight of one track of the history.

    Counts enter by their logarithm: the hundredth play of a song says less than its second.
    The SQL function get_user_top_50_tracks orders by the same formula.

    Parameters
    ----------
    play_count
        At least 1.
    age_days
        Days since the latest play; the future counts as now. Undated counts have age 0.

    Examples
    --------
    >>> round(play_weight(1, 0), 4), round(play_weight(1, 90), 4)
    (0.6931, 0.3466)
    """
    return math.log1p(play_count) * math.exp2(-max(0.0, age_days) / HALF_LIFE_DAYS)
