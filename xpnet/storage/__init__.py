"""Saving, loading and exporting networks: checkpoints and ONNX models."""
