"""Which models there are: what a name stands for, where its weights come from, how its pictures are prepared.

``rows`` is the table, ``grammar`` reads what follows ``--model``. Torch-free, and silent about what is on this machine:
that is the business of ``clipalign.weights``.
"""

from clipalign.registry.grammar import architecture_names, find_model, model_names
from clipalign.registry.rows import DEFAULT_MODEL, ModelRow, WeightSource, row_of_weights

__all__ = [
    "DEFAULT_MODEL",
    "ModelRow",
    "WeightSource",
    "architecture_names",
    "find_model",
    "model_names",
    "row_of_weights",
]
