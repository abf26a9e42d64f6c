"""Bandits of public libraries, in an environment of their own, as learners of the simulator."""
