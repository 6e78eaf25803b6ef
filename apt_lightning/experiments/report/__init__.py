"""One self-contained HTML page about one or more runs: tables, charts, settings and a model card."""
