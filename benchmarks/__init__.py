"""Benchmarks: each script prints a table and writes benchmarks/results/*.json; compare numbers only within one run."""
