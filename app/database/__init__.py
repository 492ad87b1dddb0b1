"""A database as the rest of the house sees it: one writer, a few readers, many waiters per commit."""

from app.database.group_commit import GroupCommit
from app.database.migrations import migrate
from app.database.sqlite import Database, Synchronous

__all__ = ["Database", "GroupCommit", "Synchronous", "migrate"]
