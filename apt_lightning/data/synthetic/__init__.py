"""A synthetic First Impressions set: drawn faces, synthesised speech, made-up labels: no real people."""

from apt_lightning.data.synthetic.build import synthesize
from apt_lightning.data.synthetic.features import SyntheticFeatures, synthetic_features

__all__ = ["SyntheticFeatures", "synthesize", "synthetic_features"]
