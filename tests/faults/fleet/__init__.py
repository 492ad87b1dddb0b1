"""Real processes on shared engines, under load, and what became of every comparison: the frame of most campaigns."""

from .fleet import Fleet
from .posting import Answer, Poster
from .toll import Toll

__all__ = ["Answer", "Fleet", "Poster", "Toll"]
