"""What a role may do in a PostgreSQL schema, found out before anything is made there."""

from __future__ import annotations

from sqlalchemy import Connection

from app.database.statements import fetch

_SCHEMA = """
SELECT current_user AS who, current_database() AS database, to_regnamespace(:name) IS NOT NULL AS present,
    has_database_privilege(current_database(), 'CREATE') AS makes,
    coalesce(has_schema_privilege(to_regnamespace(:name), 'USAGE'), false) AS uses
"""
_TABLES = """
SELECT count(*) AS closed FROM pg_class WHERE relnamespace = to_regnamespace(:name) AND relkind = 'r'
    AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
"""


def lacking(connection: Connection, schema: str) -> str | None:
    """Why our role cannot work in this schema; None when it can. Whether it may migrate it is not asked."""
    (found,) = fetch(connection, _SCHEMA, name=schema)
    if not found.present:
        if found.makes:
            return None
        return f"{found.who} may not make the schema {schema}: GRANT CREATE ON DATABASE {found.database} TO {found.who}"
    if not found.uses:
        return f"{found.who} may not use the schema {schema}, which is there and belongs to another role"
    ((closed,),) = fetch(connection, _TABLES, name=schema)
    if closed:
        return f"{found.who} may not change the tables in the schema {schema}, which belong to another role"
    return None
