"""Shows a shard or a sample as text, pictures, videos and pages."""
