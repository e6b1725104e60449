"""A shard or a sample as words, pictures, films and pages."""
