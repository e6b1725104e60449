"""Sample <-> shard: the codecs of the members, tar files, index and manifest."""
