"""Profile, features, export: what is done with a model besides training it."""
