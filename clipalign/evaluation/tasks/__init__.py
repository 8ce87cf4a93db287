"""The benchmarks: one module a kind of task."""
