"""Benchmarks: what they hold, how they are run, how they are measured.

``benchmarks.toml`` lists them, ``registry`` finds one by name, ``benchmark`` is the contract of benchmark, evaluator
and outcome. ``evaluate`` runs one, ``load_run`` reads a run back, ``metrics`` has the statistics; ``sweep``,
``compare``, ``calibrate`` and ``report_data`` are what else ``eval`` does.
"""
