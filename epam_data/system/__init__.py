"""What the operating system offers: files that appear whole, locks, processes that can be killed, remote folders."""
