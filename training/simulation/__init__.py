"""The simulator: worlds, listeners, what they do with a list, and learners that are shown it.

Simulated listeners prove that a rule learns, and what it would be worth under stated assumptions;
they prove nothing about people.
"""
