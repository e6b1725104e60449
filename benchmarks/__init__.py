"""Benchmarks: each script prints a table and writes benchmarks/results/*.json; compare figures within one run only."""
