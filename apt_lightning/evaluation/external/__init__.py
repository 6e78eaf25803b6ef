"""Anyone's prediction files: read in every form that they are published in, and matched with their clips."""
