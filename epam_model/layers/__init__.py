"""Building blocks of the networks: frame convolution, temporal shift, X-ShiftNet block, attention."""
