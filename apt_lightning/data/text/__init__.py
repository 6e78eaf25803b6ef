"""Words: tokens and word vectors."""
