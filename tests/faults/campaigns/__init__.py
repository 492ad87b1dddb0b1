"""The campaigns: each file is `run(seed, full=…)`, and says in its first line what is done to the house."""
