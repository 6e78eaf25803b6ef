"""Studies: what the embeddings gain, what the leak is worth, what spreads intervals."""
