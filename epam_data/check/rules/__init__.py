"""What can be wrong with shards: small pure functions over one shard's bytes, one sample, or the index."""
