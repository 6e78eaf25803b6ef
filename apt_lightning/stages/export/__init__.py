"""A trained model as it leaves the house: a folder that others can read, run and judge."""
