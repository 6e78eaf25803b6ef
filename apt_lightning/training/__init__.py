"""One stage's training under LightningCLI: its defaults, callbacks and output files."""
