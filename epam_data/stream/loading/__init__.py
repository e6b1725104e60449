"""Batch loading: sample readers, worker processes, shared memory, the shard cache."""
