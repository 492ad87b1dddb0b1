"""The table of who may do what: for each method and path the scopes of which any one suffices.

A route without a line here, or a line without a route, and the server does not start. HEAD goes by GET. What only
`operate` or `admin` opens is an operator's action and is written into the audit log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from app.access.scopes import Scope

READ, SUBMIT, OPERATE, ADMIN = Scope.READ, Scope.SUBMIT, Scope.OPERATE, Scope.ADMIN
PUBLIC = Scope(0)


class Need(NamedTuple):
    """What a route needs; `page` says that people without a key are sent to the login, not answered 401."""

    scopes: Scope
    page: bool = False

    @property
    def audited(self) -> bool:
        """Whether only operators may do this."""
        return bool(self.scopes) and self.scopes & (OPERATE | ADMIN) == self.scopes


Policy = Mapping[str, Need]


def _programs(table: Mapping[str, Scope]) -> Policy:
    return {line: Need(scopes) for line, scopes in table.items()}


def _people(table: Mapping[str, Scope]) -> Policy:
    return {line: Need(scopes, page=True) for line, scopes in table.items()}


PLATFORM = _programs(
    {
        "GET /healthz": PUBLIC,
        "GET /readyz": PUBLIC,
        "GET /api/v1/audit": ADMIN,
        "GET /api/v1/dead-letters": READ | OPERATE,
        "GET /api/v1/dead-letters/topics": READ | OPERATE,
        "GET /api/v1/dead-letters/{topic}/{letter_id}": READ | OPERATE,
        "GET /api/v1/dead-letters/{topic}/{letter_id}/record": OPERATE,
        "POST /api/v1/dead-letters/redrive": OPERATE,
        "GET /static": PUBLIC,
        "GET /openapi.json": READ,
        "GET /asyncapi.json": READ,
        "GET /docs": READ,
    }
)

PROVIDER = _programs(
    {
        "POST /api/v1/comparison": SUBMIT,
        "POST /api/v1/comparison/{correlation_id}/cancel": SUBMIT | OPERATE,
        "POST /api/v1/judges/check": SUBMIT,
        "GET /api/v1/providers": READ | OPERATE,
        "POST /api/v1/providers/{provider}/test": OPERATE,
        "GET /api/v1/models": READ | SUBMIT | OPERATE,
        "GET /api/v1/usage": READ | OPERATE,
        "GET /api/v1/queue": READ | OPERATE,
        "GET /api/v1/queue/stats": READ | OPERATE,
        "GET /api/v1/queue/{queue_id}": READ | OPERATE,
        "POST /api/v1/queue/{queue_id}/retry": OPERATE,
        "POST /api/v1/queue/{queue_id}/cancel": OPERATE,
        "GET /api/v1/breakers": READ | OPERATE,
        "POST /api/v1/breakers/trip": OPERATE,
        "POST /api/v1/breakers/reset": OPERATE,
    }
)

CJ = _programs(
    {
        "GET /api/v1/batches": READ,
        "POST /api/v1/batches": SUBMIT,
        "POST /api/v1/estimate": SUBMIT,
        "GET /api/v1/batches/{batch_id}": READ,
        "DELETE /api/v1/batches/{batch_id}": OPERATE,
        "GET /api/v1/batches/{batch_id}/ranking": READ,
        "GET /api/v1/batches/{batch_id}/comparisons": READ,
        "GET /api/v1/batches/{batch_id}/judges": READ,
        "GET /api/v1/batches/{batch_id}/diagnostics": READ,
        "GET /api/v1/batches/{batch_id}/grades": READ,
        "POST /api/v1/batches/{batch_id}/what-if": READ,
        "GET /api/v1/batches/{batch_id}/export": READ,
        "GET /api/v1/batches/{batch_id:uuid}/events": READ,
        "GET /api/v1/comparisons/{comparison_id}": READ,
        "POST /api/v1/batches/{batch_id}/start": SUBMIT,
        "POST /api/v1/batches/{batch_id}/add": SUBMIT,
        "POST /api/v1/batches/{batch_id}/resume": OPERATE,
        "POST /api/v1/batches/{batch_id}/pause": OPERATE,
        "POST /api/v1/batches/{batch_id}/cancel": OPERATE,
    }
)

WEB = _people(
    {
        "GET /login": PUBLIC,
        "POST /login": PUBLIC,
        "POST /logout": PUBLIC,
        "GET /": READ,
        "GET /batches/new": READ,
        "POST /batches": SUBMIT,
        "GET /batches/{batch_id:uuid}": READ,
        "GET /batches/{batch_id:uuid}/check": READ,
        "GET /batches/{batch_id:uuid}/live": READ,
        "GET /batches/{batch_id:uuid}/ranking": READ,
        "GET /batches/{batch_id:uuid}/path": READ,
        "GET /batches/{batch_id:uuid}/judges": READ,
        "GET /batches/{batch_id:uuid}/matrix": READ,
        "GET /batches/{batch_id:uuid}/essays/{position:int}": READ,
        "GET /batches/{batch_id:uuid}/what-if": READ,
        "GET /batches/{batch_id:uuid}/ranking.csv": READ,
        "GET /batches/{batch_id:uuid}/ranking.json": READ,
        "GET /batches/{batch_id:uuid}/judgements.csv": READ,
        "GET /batches/{batch_id:uuid}/report.html": READ,
        "POST /batches/{batch_id:uuid}/start": SUBMIT,
        "POST /batches/{batch_id:uuid}/add": SUBMIT,
        "POST /batches/{batch_id:uuid}/resume": OPERATE,
        "POST /batches/{batch_id:uuid}/pause": OPERATE,
        "GET /batches/{batch_id:uuid}/cancel": READ,
        "POST /batches/{batch_id:uuid}/cancel": OPERATE,
        "GET /batches/{batch_id:uuid}/delete": READ,
        "POST /batches/{batch_id:uuid}/delete": OPERATE,
    }
)
