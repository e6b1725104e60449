"""The commands of `epam-model`, one a file: its options as a dataclass, and what it does."""
