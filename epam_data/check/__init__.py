"""A directory of shards -> what is wrong with it, as findings and as a report."""
