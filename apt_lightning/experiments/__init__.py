"""Whole runs: all stages in order, seeds, folds, ablations, sweeps, reports."""
