"""Losses: cross-entropy, PCAN's prototype losses, and the tree loss over coarse and fine classes."""
