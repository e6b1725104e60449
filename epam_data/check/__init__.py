"""Checks a directory of shards: findings and a report."""
