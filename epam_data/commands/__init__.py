"""The commands of `epam-data`, one a file: its options as a dataclass, and what it does."""
