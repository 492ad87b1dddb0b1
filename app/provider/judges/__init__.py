"""Who decides which essay is better: one file per kind of judge."""
