"""Whole programs for the page of the Python API, each run by ``tests/contract/test_recipes.py``."""
