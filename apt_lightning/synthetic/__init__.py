"""A synthetic First Impressions set: drawn faces, synthesised speech, made-up labels: no real people."""

from apt_lightning.synthetic.layout import synthesize

__all__ = ["synthesize"]
