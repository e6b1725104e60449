"""Raw recordings -> a directory of shards: plan, ingest, build, resume, finalise."""
