"""Conversion and validation of data: host-device transfers, and the samples that a network trains on."""
