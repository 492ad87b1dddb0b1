"""The provider's operations. A new one is a new entry; a test holds the table to the routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from app.contracts import ComparisonQueued, LLMComparisonRequest, LLMComparisonResponse, LLMConfigOverrides
from app.errors import (
    Conflict,
    InvalidRequest,
    JudgeFailed,
    MalformedBody,
    NoRoom,
    NotFound,
    QueueFull,
    RequestCancelled,
    RequestExpired,
    RequestMismatch,
    RequestTimeout,
    StoreUnavailable,
    TooLarge,
    TopicNotAllowed,
    Unavailable,
)
from app.provider.answers import (
    BREAKER,
    BREAKERS,
    ENTRY,
    JUDGE,
    MODELS,
    PROVIDERS,
    QUEUE_PAGE,
    QUEUE_STATS,
    TEST,
    USAGE,
)
from app.provider.operating import BreakerChange
from app.provider.queue.protocol import State
from app.provider.routes import DAYS, MOST_DAYS, PAGE_LIMIT
from app.spec.operation import Answer, Link, Operation, Parameter, in_path

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "examples" / "comparison.json").read_text(encoding="utf-8")
)
_CANCEL = Link(operation="cancelComparison", parameter="correlation_id", pointer="/correlation_id")

OPERATIONS = (
    Operation(
        method="POST",
        path="/api/v1/comparison",
        name="compare",
        module="provider",
        summary="Ask which of two essays is better",
        description=(
            "Answered with the verdict (200) when a judge is free and fast enough, else with the promise (202) that it "
            "will be published to `callback_topic`. After a 202 there is nothing to poll.\n\n"
            "`correlation_id` is the idempotency key. The same request again gives the stored answer or the same "
            "promise, and never asks the judge a second time: send it again after anything unclear. Another body under "
            "a known id is refused (422). A stored outcome that is no verdict is final and answered 502 (failed), 504 "
            "(expired) or 409 (cancelled), the same on every repeat; judging the pair again needs a new id.\n\n"
            "Who sends an `Idempotency-Key` header sends the correlation_id in it; another one is refused (422)."
        ),
        parameters=(
            Parameter(
                name="traceparent",
                where="header",
                description="W3C trace context; goes on into the event and its record. A malformed one is ignored.",
                schema={
                    "type": "string",
                    "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
                },
            ),
        ),
        body=TypeAdapter(LLMComparisonRequest),
        example=EXAMPLE,
        answers=(
            Answer(
                status=200,
                description="The verdict. No event follows.",
                body=TypeAdapter(LLMComparisonResponse),
                links=(_CANCEL,),
            ),
            Answer(
                status=202,
                description="Accepted durably. The outcome will be published to `callback_topic`, at least once.",
                body=TypeAdapter(ComparisonQueued),
                links=(_CANCEL, Link(operation="queueEntry", parameter="queue_id", pointer="/queue_id")),
            ),
        ),
        problems=(
            MalformedBody,
            InvalidRequest,
            TopicNotAllowed,
            RequestMismatch,
            RequestTimeout,
            RequestCancelled,
            TooLarge,
            QueueFull,
            JudgeFailed,
            NoRoom,
            Unavailable,
            StoreUnavailable,
            RequestExpired,
        ),
    ),
    Operation(
        method="POST",
        path="/api/v1/comparison/{correlation_id}/cancel",
        name="cancelComparison",
        module="provider",
        summary="Nobody waits for this verdict any more",
        description=(
            "Ends the comparison as `cancelled`, which is published like any outcome. A call of the judge that already "
            "runs keeps whatever comes of it; `cancelled` in the answer says that the wish was stored."
        ),
        parameters=(in_path("correlation_id", "Of the comparison."),),
        answers=(
            Answer(
                status=200,
                description="Where the request stands.",
                body=ENTRY,
                links=(Link(operation="queueEntry", parameter="queue_id", pointer="/queue_id"),),
            ),
        ),
        problems=(NotFound, InvalidRequest, StoreUnavailable),
    ),
    Operation(
        method="GET",
        path="/api/v1/queue",
        name="queue",
        module="provider",
        summary="Requests in the ledger, for operators",
        parameters=(
            Parameter(
                name="lane",
                where="query",
                description="Only this judge configuration.",
                schema={"type": "string"},
            ),
            Parameter(
                name="state",
                where="query",
                description="Only this state.",
                schema={"type": "string", "enum": [state.value for state in State]},
            ),
            Parameter(
                name="after",
                where="query",
                description="Begin behind this place: `next` of the page before.",
                schema={"type": "integer", "minimum": 0, "maximum": 10**18 - 1, "default": 0},
            ),
            Parameter(
                name="limit",
                where="query",
                description="At most so many rows.",
                schema={"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": 50},
            ),
        ),
        answers=(
            Answer(
                status=200,
                description="A page of rows, without prompts and essays.",
                body=QUEUE_PAGE,
                links=(Link(operation="queueEntry", parameter="queue_id", pointer="/entries/0/queue_id"),),
            ),
        ),
        problems=(InvalidRequest, StoreUnavailable),
    ),
    Operation(
        method="GET",
        path="/api/v1/queue/stats",
        name="queueStats",
        module="provider",
        summary="Open requests by lane",
        answers=(Answer(status=200, description="Counts by lane.", body=QUEUE_STATS),),
        problems=(InvalidRequest, StoreUnavailable),
    ),
    Operation(
        method="GET",
        path="/api/v1/queue/{queue_id}",
        name="queueEntry",
        module="provider",
        summary="One request in the ledger, for operators",
        description="This is no result API: an answer comes by 200 or by callback, never from here.",
        parameters=(in_path("queue_id", "From a 202, or from the list."),),
        answers=(Answer(status=200, description="Where the request stands.", body=ENTRY),),
        problems=(NotFound, InvalidRequest, StoreUnavailable),
    ),
    Operation(
        method="POST",
        path="/api/v1/queue/{queue_id}/retry",
        name="retryQueueEntry",
        module="provider",
        summary="Have a waiting request tried now",
        description=(
            "Ends the delay after a failure. Breaker and rate limit of its judge still hold. An outcome is final for its "
            "id: what has ended is refused (409), and so is what a worker has now."
        ),
        parameters=(in_path("queue_id", "From a 202, or from the list."),),
        answers=(Answer(status=200, description="Where the request stands.", body=ENTRY),),
        problems=(NotFound, Conflict, InvalidRequest, StoreUnavailable),
    ),
    Operation(
        method="POST",
        path="/api/v1/queue/{queue_id}/cancel",
        name="cancelQueueEntry",
        module="provider",
        summary="Cancel a request, whoever asked for it",
        description=(
            "Ends it as `cancelled`, which is published like any outcome. A call of the judge that already runs keeps "
            "whatever comes of it. What has its outcome is refused (409)."
        ),
        parameters=(in_path("queue_id", "From a 202, or from the list."),),
        answers=(Answer(status=200, description="Where the request stands.", body=ENTRY),),
        problems=(NotFound, Conflict, InvalidRequest, StoreUnavailable),
    ),
    Operation(
        method="GET",
        path="/api/v1/breakers",
        name="breakers",
        module="provider",
        summary="The circuit breakers of this process",
        answers=(Answer(status=200, description="One for every lane asked so far.", body=BREAKERS),),
        problems=(InvalidRequest,),
    ),
    *(
        Operation(
            method="POST",
            path=f"/api/v1/breakers/{verb}",
            name=f"{verb}Breaker",
            module="provider",
            summary=summary,
            description=(
                "Breakers are held in memory: each provider process has its own, and a restart closes them. The name of "
                "a lane has slashes, so it is in the body."
            ),
            body=TypeAdapter(BreakerChange),
            example={"lane": "rules/panel-v1", "reason": "the invoice is unpaid"},
            answers=(Answer(status=200, description="The breaker as it is now.", body=BREAKER),),
            problems=(NotFound, MalformedBody, InvalidRequest, RequestTimeout, TooLarge),
        )
        for verb, summary in (
            ("trip", "Stop asking a judge until it is reset"),
            ("reset", "Ask a judge again, as if it had never failed"),
        )
    ),
    Operation(
        method="GET",
        path="/api/v1/providers",
        name="providers",
        module="provider",
        summary="How each judge is: waiting, running, circuit breaker",
        answers=(Answer(status=200, description="Every lane asked so far.", body=PROVIDERS),),
        problems=(InvalidRequest,),
    ),
    Operation(
        method="POST",
        path="/api/v1/providers/{provider}/test",
        name="testProvider",
        module="provider",
        summary="Whether a judge's provider takes the key",
        description=(
            "Asks the provider for its list of models, which costs nothing. That it refuses, or is away, is an answer "
            "too: `ok` is false, and `words` says why."
        ),
        parameters=(
            Parameter(
                name="provider",
                where="path",
                description="Of the judge, as in `llm_config_overrides.provider`.",
                schema={"type": "string", "pattern": "^[a-z0-9_-]{1,64}$", "examples": ["rules"]},
            ),
        ),
        answers=(Answer(status=200, description="What it said.", body=TEST),),
        problems=(NotFound, InvalidRequest),
    ),
    Operation(
        method="GET",
        path="/api/v1/models",
        name="models",
        module="provider",
        summary="The judges that can be asked, and what they cost",
        answers=(Answer(status=200, description="Every one of them.", body=MODELS),),
        problems=(InvalidRequest,),
    ),
    Operation(
        method="GET",
        path="/api/v1/usage",
        name="usage",
        module="provider",
        summary="What was spent on language models, by day, asker and model",
        parameters=(
            Parameter(
                name="days",
                where="query",
                description="The last so many days (UTC), today included.",
                schema={"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": DAYS},
            ),
        ),
        answers=(Answer(status=200, description="The latest day first.", body=USAGE),),
        problems=(InvalidRequest, StoreUnavailable),
    ),
    Operation(
        method="POST",
        path="/api/v1/judges/check",
        name="checkJudge",
        module="provider",
        summary="Whether a judge configuration can be asked",
        description="For whoever is about to ask for many comparisons: a configuration that could only fail is refused.",
        body=TypeAdapter(LLMConfigOverrides),
        example={"provider": "rules", "model": "panel-v1/balanced"},
        answers=(Answer(status=200, description="It can; comparisons go by this lane.", body=JUDGE),),
        problems=(MalformedBody, InvalidRequest, RequestTimeout, TooLarge),
    ),
)
