"""The rules of the check: small pure functions over one shard's bytes, one sample, or the index."""
