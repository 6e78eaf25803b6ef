"""Serve: batches of a store."""
