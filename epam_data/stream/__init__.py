"""Shards -> batches: exact epochs that do not depend on ranks or workers. The only part that needs torch."""

from epam_data.stream.augment import StreamSettings
from epam_data.stream.batch import Batch
from epam_data.stream.device import BatchFinisher
from epam_data.stream.stream import Stream

__all__ = ["Batch", "BatchFinisher", "Stream", "StreamSettings"]
