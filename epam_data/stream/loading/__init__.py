"""The processes and the memory that load batches: readers, worker processes, shared slots, the shard cache."""
