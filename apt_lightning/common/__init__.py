"""Words and tools that all parts share."""
