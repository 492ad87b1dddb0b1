"""Races of real parts in one event loop, run in every order of their gates under a clock of their own."""
