"""The commands of `epam-model`."""
