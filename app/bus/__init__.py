"""How the modules talk: a log of records by topic, delivered at least once to each group."""
