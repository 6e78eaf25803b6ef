"""Encode: pretrained encoders of sound, pictures and words, run once over the clips of a store."""
