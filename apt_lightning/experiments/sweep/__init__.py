"""Search of stage 3's hyperparameters."""
