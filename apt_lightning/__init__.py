"""Apparent personality traits from video, voice and words, with cross-modal embeddings (arXiv 2405.03846)."""

__version__ = "0.1.0"
