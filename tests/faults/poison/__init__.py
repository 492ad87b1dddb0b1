"""Bad events of every kind, put among sound ones on a real bus: parked, and nothing beside them suffers."""
