"""Fault campaigns: what DESIGN promises, held against kills, outages and seeded defects. See `python -m tests.faults`.

`campaigns` has those that the command knows, `poison` and `races` each their own; the rest is what they stand on.
A few words have one meaning throughout:

house        an installation: the processes and the folder or engines they share
life         one process from its start to its end, mostly cut short
story        one batch lived through as many lives as it takes
weather      what the house stands on while a story is told: a judge that fails, a database that is locked
fleet        provider and cj processes on shared engines, under load
books        what the stores and topics of a fleet say, read with clients of their own
toll         what became of every comparison, counted from the books
defect       a promise broken on purpose, which proves that a campaign can see; in a race it is a mutant
"""
