"""Views: which clips of a shard directory are trained and tested on. Splits are chosen here, not built."""
