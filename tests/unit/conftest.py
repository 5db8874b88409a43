"""Hypothesis for unit tests: the same examples each time, however slow the machine is."""

from hypothesis import settings

settings.register_profile("unit", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("unit")
