"""Predictions and measures of a trained model."""
