"""Problem details for HTTP APIs (RFC 9457), as every error answer carries them."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from app.contracts.wire import Text, Tolerant


class FieldError(Tolerant):
    """One field that was refused: where it is in the body, and why."""

    field: Text
    message: Text


class Problem(Tolerant):
    """What happened (`title`, `detail`), what to do (`hint`), and whether sending again may help (`retryable`).

    For a stored outcome (502, 504, 409 of a comparison) that means a new comparison under a new id: the outcome of
    the old one is final. `type` is `urn:juxta:problem:<code>`; `errors` lists refused fields by name, never by value, so that no essay
    text travels in an error. `cost_usd` is what a judge took for no verdict.
    """

    type: Text
    title: Text
    status: int
    detail: Text
    hint: Text = ""
    retryable: bool = False
    retry_after: float | None = None
    correlation_id: UUID | None = None
    errors: tuple[FieldError, ...] = ()
    cost_usd: float | None = Field(None, ge=0, le=1e9)

    @property
    def code(self) -> str:
        """The last part of `type`: the stable name of the failure."""
        return self.type.rsplit(":", 1)[-1]
