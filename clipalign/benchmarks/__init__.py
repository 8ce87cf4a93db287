"""Benchmarks: what they hold, how they are run, how they are measured.

``task`` is the contract, ``table`` finds a benchmark by name without importing the others, ``runner`` takes each the
same way that ``detect`` takes a user's pairs, ``metrics`` does the arithmetic. A new benchmark is one file and one line
of the table.
"""
