"""Saving, loading and exporting networks."""
