"""Clip -> Sample: decode, crop, resize, heatmap."""
