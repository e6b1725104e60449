"""Tools around a model: profile, features, export, diagnosis."""
