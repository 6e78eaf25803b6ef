"""Keep: the feature store, plain files that many processes write."""
