"""Operating system services: atomic file writes, locks, processes that can be killed, remote folders."""
