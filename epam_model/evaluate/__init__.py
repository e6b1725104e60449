"""Predictions and metrics of a trained model."""
