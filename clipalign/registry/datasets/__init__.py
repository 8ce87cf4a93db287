"""Which data sets there are: a new one is a row in the file of its family."""

from clipalign.registry.datasets.row import DataFile, DatasetRow, Pictures
from clipalign.registry.datasets.table import DATASETS, dataset_names, find_dataset

__all__ = ["DATASETS", "DataFile", "DatasetRow", "Pictures", "dataset_names", "find_dataset"]
