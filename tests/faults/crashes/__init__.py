"""The embedded house, killed again and again: how it dies, in what weather, and what must be left of it."""
