"""A package, so that another project's `tests` among the installed packages does not stand in its place."""
