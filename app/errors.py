"""Every failure that Juxta expects, in one tree; each leaf knows its HTTP status.

JuxtaError
├── InvalidRequest            422  the caller must change the request
│   ├── MalformedBody         400  the body is not JSON at all
│   ├── TopicNotAllowed       422  callback_topic is not on the provider's list
│   └── RequestMismatch       422  another body under a known correlation_id
├── Unauthorized              401  no key, or none that opens anything here
├── Forbidden                 403  the key lacks the scope, or the request comes from a foreign page
├── Misdirected               421  asked under a name that is not this server's
├── NotFound                  404
├── Conflict                  409  the thing is not in a state that allows this
├── TooLarge                  413
├── RequestTimeout            408  the body did not arrive in time
├── QueueFull                 429  the lane is at its limit; Retry-After says when to come back
├── NoVerdict                      the stored outcome is final and is no verdict
│   ├── JudgeFailed           502  it is `failed`
│   ├── RequestExpired        504  it is `expired`
│   └── RequestCancelled      409  it is `cancelled`
├── Unavailable               503  a part we stand on is away; the same request may be sent again
│   ├── NoRoom                503  no callback_topic and no free judge
│   ├── BusUnavailable        503  a record may or may not have been stored
│   │   ├── TopicAbsent       503  the broker answers, and neither has this topic nor lets us make it
│   │   └── RecordRefused     503  the bus takes others, but never this record as things are set
│   ├── BusClosed             503  this process is leaving the bus
│   ├── StoreUnavailable      503  the database is locked, full or gone
│   ├── ProviderUnavailable   503  cj could not reach the provider
│   └── JudgeUnavailable      503  a judge's provider refuses the key, or cannot be reached
├── LeaseLost                 409  a worker's lease was taken over; it may write nothing (never leaves the provider)
└── ConfigurationError        500  the process refuses to start
"""

from __future__ import annotations

from typing import ClassVar


class JuxtaError(Exception):
    """Base of everything above.

    `code` names the failure on the wire for good; `hint` says what to do about it; `retry_after` is in seconds.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    hint: str = ""

    def __init__(self, detail: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        if hint is not None:
            self.hint = hint


class InvalidRequest(JuxtaError):
    """The request cannot be served as it stands; `errors` names each offending field."""

    status = 422
    code = "invalid-request"

    def __init__(
        self, detail: str, *, errors: tuple[tuple[str, str], ...] = (), hint: str | None = None
    ) -> None:
        super().__init__(detail, hint=hint)
        self.errors = errors


class MalformedBody(InvalidRequest):
    """The body is not JSON."""

    status = 400
    code = "malformed-body"
    hint = "Send one JSON object, encoded as UTF-8."


class TopicNotAllowed(InvalidRequest):
    """The callback_topic is not on the provider's list; refused at once, where Kafka would let its clients hang."""

    code = "topic-not-allowed"


class RequestMismatch(InvalidRequest):
    """The correlation_id is already bound to another body."""

    code = "request-mismatch"
    hint = "Use a new correlation_id for a new comparison; repeat a comparison with exactly the same body."


class Unauthorized(JuxtaError):
    """Whether the key is missing, unknown, expired or revoked is not told: the words are the same for all."""

    status = 401
    code = "unauthorized"
    hint = "Send a valid key as `Authorization: Bearer juxta_…`; `key new` makes one."

    def __init__(
        self, detail: str = "This needs a key.", *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail, hint=hint, retry_after=retry_after)


class Forbidden(JuxtaError):
    """The caller is known, or need not be, and may not do this."""

    status = 403
    code = "forbidden"


class Misdirected(JuxtaError):
    """The Host header names another server: a wrong address, or a page that rebinds its own name to ours."""

    status = 421
    code = "misdirected"


class NotFound(JuxtaError):
    """Nothing is stored under that name."""

    status = 404
    code = "not-found"


class Conflict(JuxtaError):
    """The action does not fit the present state."""

    status = 409
    code = "conflict"


class TooLarge(JuxtaError):
    """The body is over the limit."""

    status = 413
    code = "too-large"


class RequestTimeout(JuxtaError):
    """The body did not arrive before its deadline."""

    status = 408
    code = "request-timeout"
    retryable = True


class QueueFull(JuxtaError):
    """The lane holds as many open requests as it may."""

    status = 429
    code = "queue-full"
    retryable = True
    hint = "Wait for Retry-After seconds and send the same request again."


class NoVerdict(JuxtaError):
    """The outcome is stored, final for its correlation_id, and no verdict.

    `cause` names the class of the failure; `anew` says whether a new comparison, under a new id, may do better;
    `cost_usd` is what the judge took all the same.
    """

    cause: str = ""
    anew: bool = False
    cost_usd: float = 0.0


class JudgeFailed(NoVerdict):
    """The judge gave no verdict and will not."""

    status = 502
    code = "judge-failed"
    hint = "Send a new comparison with a new correlation_id if the pair should be judged again."


class RequestExpired(NoVerdict):
    """Nobody judged the request before `expires_in` ran out."""

    status = 504
    code = "request-expired"
    anew = True
    hint = "Send a new comparison with a new correlation_id, or a longer expires_in."


class RequestCancelled(NoVerdict):
    """The comparison was cancelled; its id is spent."""

    status = 409
    code = "request-cancelled"


class Unavailable(JuxtaError):
    """A part we stand on is away for now."""

    status = 503
    code = "unavailable"
    retryable = True
    hint = "Send the same request again later; it is never counted twice."


class NoRoom(Unavailable):
    """No judge is free and the request names no callback_topic to answer on later."""

    code = "no-room"
    hint = "Name a callback_topic to be answered later, or try again."


class BusUnavailable(Unavailable):
    """The record may or may not have been stored; publishing it again under the same id is safe."""

    code = "bus-unavailable"


class TopicAbsent(BusUnavailable):
    """The broker is there and this topic is not: nothing was stored, and records of other topics are not held up."""

    code = "topic-absent"
    hint = "Make the topic, or let Juxta make it; the record is kept and tried again now and then."


class RecordRefused(BusUnavailable):
    """Too large, or for a topic that was not declared: nothing was stored, and other records are not held up."""

    code = "record-refused"
    hint = "Raise the limit of the topic, or list the topic; the record is kept and tried again now and then."


class BusClosed(Unavailable):
    """The bus was left, or not yet entered."""

    code = "bus-closed"


class StoreUnavailable(Unavailable):
    """The database did not take the transaction; nothing of it was stored."""

    code = "store-unavailable"


class ProviderUnavailable(Unavailable):
    """The provider did not answer; the outcome of the request is unknown and a repeat is safe."""

    code = "provider-unavailable"


class JudgeUnavailable(Unavailable):
    """Whoever is behind a judge would not answer now; nothing was spent to find out."""

    code = "judge-unavailable"
    hint = "`providers test` with the judge's name says how it is."


class LeaseLost(JuxtaError):
    """The lease ran out and another worker has the request, or the request is closed."""

    status = 409
    code = "lease-lost"


class ConfigurationError(JuxtaError):
    """A setting is unknown, impossible, or does not fit another; the message holds every fault found."""

    code = "configuration"
