"""Version of the package, written into stores, checkpoints and reports."""

__version__ = "0.1.0"
