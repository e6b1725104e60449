"""What a run tells people: logs, plots, pages, overlays."""
