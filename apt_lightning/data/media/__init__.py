"""Decode: functionals and frames of one clip."""
