"""The stages as ``LightningModule`` classes: what trains, what is frozen, what is logged."""
