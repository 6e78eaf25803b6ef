"""Clips, labels, words and features: reading, checking, storing, serving."""
