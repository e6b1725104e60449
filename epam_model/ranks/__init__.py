"""Training one model in several processes: start, collective operations, and the layers that need them."""
