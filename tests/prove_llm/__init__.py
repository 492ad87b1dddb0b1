"""A batch judged by a language model that is slow, limited, costly and unreliable, and what must be true of it.

`python -m tests.prove_llm` runs the long form and prints what was found; `make test` runs a short one.
"""
