"""Data on its way in: to the device where a network computes, and into the samples that it learns from."""
