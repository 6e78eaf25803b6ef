"""Metrics that can be defended: metrics with intervals, leak audit, paired tests, fairness, uncertainty."""
