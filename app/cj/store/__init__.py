"""What cj remembers: each batch, each comparison with its exact request, and every result exactly once.

A comparison row is committed before its POST. `BatchStore` is the door; behind it `batches`, `sending`, `results` and
`plans` hold what happens inside a transaction.
"""

from app.cj.store.batch_store import BatchStore
from app.cj.store.batches import batch_of
from app.cj.store.fits import FittedWave, Milestone
from app.cj.store.money import is_broke
from app.cj.store.plans import Ended, Plan, Progress
from app.cj.store.results import Recorded

__all__ = [
    "BatchStore",
    "Ended",
    "FittedWave",
    "Milestone",
    "Plan",
    "Progress",
    "Recorded",
    "batch_of",
    "is_broke",
]
