"""The sample at each position and its random draws: pure functions of (seed, epoch, position)."""
