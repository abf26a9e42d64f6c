"""How a track is judged: pure functions and small models on numpy arrays.

No input, no output, no clock, no environment: what training fits and what serving answers is
computed here, by the same functions. Start at `ranking.rank`; every number it returns is explained
by one module of `components`, by `scoring` or by `qlearning`.
"""
