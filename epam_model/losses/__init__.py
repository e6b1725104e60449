"""Losses beyond cross-entropy: PCAN's prototypes and the tree over coarse and fine classes."""
