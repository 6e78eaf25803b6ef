"""Search of hyperparameters of stage 3, or of the joint training."""
