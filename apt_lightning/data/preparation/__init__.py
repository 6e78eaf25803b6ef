"""Fill: clips to a store, in expendable workers, over processes and nodes."""
