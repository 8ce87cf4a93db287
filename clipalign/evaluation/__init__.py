"""Benchmarks: what they hold, how they are run, how they are measured.

``benchmarks.toml`` lists them, ``registry`` finds one by name without importing the others. ``task`` is the contract of
benchmark, evaluator and outcome; ``evaluate`` takes samples through an evaluator, ``load_run`` reads a run back, and
``metrics`` does the arithmetic. ``sweep``, ``compare``, ``calibrate`` and ``report_data`` are what ``eval`` does
besides one run. A benchmark that is only rows is a table in ``benchmarks.toml``.
"""
