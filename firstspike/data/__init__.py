"""Data sets by name, augmentation, splits and the latency cache."""

from firstspike.data.augment import augment
from firstspike.data.cache import cached_array, latencies
from firstspike.data.dataset import DataMissing, Dataset
from firstspike.data.event_sets import RecordingSet, list_recordings, load_recordings
from firstspike.data.recordings import Recordings
from firstspike.data.splits import order, split, split_groups, stream, subset
from firstspike.data.table import Row, list_datasets, load, register

__all__ = [
    "DataMissing",
    "Dataset",
    "RecordingSet",
    "Recordings",
    "Row",
    "augment",
    "cached_array",
    "latencies",
    "list_datasets",
    "list_recordings",
    "load",
    "load_recordings",
    "order",
    "register",
    "split",
    "split_groups",
    "stream",
    "subset",
]
