"""Cards: what a store holds (Croissant), what a model is for, and how to do a run again."""
