"""A database as the rest of the house sees it: one writer, a few readers, many waiters per commit."""

from app.database.database import Database
from app.database.group_commit import GroupCommit
from app.database.migrations import migrate
from app.database.sqlite import SqliteDatabase, Synchronous

__all__ = ["Database", "GroupCommit", "SqliteDatabase", "Synchronous", "migrate"]
