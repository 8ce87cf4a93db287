"""Benchmarks: what they hold, how they are run, how they are measured.

``task`` is the contract, ``table`` finds a benchmark by name without importing the others, ``runner`` takes its samples
through the code that the commands run, ``metrics`` and ``statistics`` do the arithmetic. ``sweep``, ``comparison``,
``calibration`` and ``showcase`` are what ``eval`` does besides one run. A new benchmark is one file and one line of the
table.
"""
