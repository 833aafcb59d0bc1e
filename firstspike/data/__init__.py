"""Data sets by name, augmentation, splits and the latency cache."""

from firstspike.data.augment import augment
from firstspike.data.cache import cached_array, latencies
from firstspike.data.dataset import DataMissing, Dataset
from firstspike.data.splits import order, split, stream, subset
from firstspike.data.table import Row, list_datasets, load, register

__all__ = [
    "DataMissing",
    "Dataset",
    "Row",
    "augment",
    "cached_array",
    "latencies",
    "list_datasets",
    "load",
    "order",
    "register",
    "split",
    "stream",
    "subset",
]
