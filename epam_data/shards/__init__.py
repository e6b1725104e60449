"""Sample <-> shard: member codecs, tar files, index and manifest."""
