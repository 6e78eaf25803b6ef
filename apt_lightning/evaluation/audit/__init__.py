"""Checks of a data set: leak, placeholder labels, duplicates."""
