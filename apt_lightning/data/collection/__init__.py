"""Read: a stranger's folder, its labels, transcripts, tables and archives."""
