"""Which sample comes at which position, and what is drawn for it: pure functions of (seed, epoch, position)."""
