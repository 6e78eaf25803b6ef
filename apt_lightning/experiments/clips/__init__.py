"""What is shown of scored clips: a picture of each, and a page about some."""
