"""cj's operations. A new one is a new entry; a test holds the table to the routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import TypeAdapter, WithJsonSchema

from app.cj import answers, reports, what_if
from app.cj.routes import Addition, BatchRequest
from app.cj.what_if import Question
from app.errors import (
    Conflict,
    InvalidRequest,
    MalformedBody,
    NotFound,
    ProviderUnavailable,
    RequestTimeout,
    StoreUnavailable,
    TooLarge,
)
from app.spec.operation import Answer, Link, Operation, Parameter, in_path
from app.spec.provider import EXAMPLE as COMPARISON


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """One event of a stream. `id` comes with `verdict` only; `data` holds one JSON object."""

    event: Literal["verdict", "state", "done"]
    data: Annotated[str, WithJsonSchema({"type": "string", "contentMediaType": "application/json"})]
    id: str = ""


ONE = "/api/v1/batches/{batch_id}"
EXAMPLE = {
    "title": "An hour later?",
    "question": COMPARISON["user_prompt"],
    "essays": [
        {"name": "essay-a", "text": COMPARISON["essay_a"]},
        {"name": "essay-b", "text": COMPARISON["essay_b"], "level": "1"},
    ],
    "settings": {"comparisons_per_essay": 4, "target_reliability": 0.9},
    "start": True,
}
_BATCH = in_path("batch_id", "Of the batch.")
_AFTER = Parameter(
    name="after",
    where="query",
    description="Begin behind this number: `next_after` of the page before.",
    schema={"type": "integer", "minimum": 0, "maximum": 10**18 - 1, "default": 0},
)
_READ = (NotFound, InvalidRequest, StoreUnavailable)
_OF_A_BATCH = tuple(
    Link(operation=name, parameter="batch_id", pointer="/id")
    for name in (
        "batch",
        "ranking",
        "comparisons",
        "judges",
        "diagnostics",
        "grades",
        "whatIf",
        "exportBatch",
        "startBatch",
        "resumeBatch",
        "addComparisons",
        "pauseBatch",
        "cancelBatch",
        "deleteBatch",
    )
)


def _change(verb: Literal["start", "resume", "pause", "cancel"], summary: str, description: str) -> Operation:
    return Operation(
        method="POST",
        path=f"{ONE}/{verb}",
        name=f"{verb}Batch",
        module="cj",
        summary=summary,
        description=description,
        parameters=(_BATCH,),
        answers=(Answer(status=200, description="The batch as it is now.", body=answers.BATCH),),
        problems=(NotFound, Conflict, InvalidRequest, StoreUnavailable),
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/batches",
        name="batches",
        module="cj",
        summary="Batches, the newest first",
        answers=(
            Answer(
                status=200,
                description="The newest hundred.",
                body=answers.BATCHES,
                links=(Link(operation="batch", parameter="batch_id", pointer="/batches/0/id"),),
            ),
        ),
        problems=(InvalidRequest, StoreUnavailable),
    ),
    Operation(
        method="POST",
        path="/api/v1/batches",
        name="createBatch",
        module="cj",
        summary="Hand in essays to be ranked",
        description=(
            "Nothing is stored when an essay or a setting is faulty; every fault is named. Settings left out are the "
            "server's. With `start` (the default) judging begins at once. This is not idempotent: twice makes two."
        ),
        body=TypeAdapter(BatchRequest),
        example=EXAMPLE,
        answers=(Answer(status=201, description="The batch.", body=answers.BATCH, links=_OF_A_BATCH),),
        problems=(MalformedBody, InvalidRequest, RequestTimeout, TooLarge, StoreUnavailable),
    ),
    Operation(
        method="POST",
        path="/api/v1/estimate",
        name="estimateBatch",
        module="cj",
        summary="What a batch would come to",
        description=(
            "The body is that of `createBatch`. Comparisons, seconds and US dollars, each at most, unless the reliability asked for is reached earlier; "
            "nothing is stored. `cost_usd` is for answers that fill all the room they are given, without calls that "
            "fail and are made again; null when the price of a judge is unknown, whom `unpriced` names."
        ),
        body=TypeAdapter(BatchRequest),
        example=EXAMPLE,
        answers=(Answer(status=200, description="The estimate.", body=answers.ESTIMATE),),
        problems=(MalformedBody, InvalidRequest, RequestTimeout, TooLarge, ProviderUnavailable),
    ),
    Operation(
        method="GET",
        path=ONE,
        name="batch",
        module="cj",
        summary="One batch with its counts",
        description="State, counts, reliability, why it stopped; judges, failures by class, and by which road verdicts came.",
        parameters=(_BATCH,),
        answers=(Answer(status=200, description="The batch.", body=answers.COUNTED_BATCH),),
        problems=_READ,
    ),
    Operation(
        method="DELETE",
        path=ONE,
        name="deleteBatch",
        module="cj",
        summary="Delete a batch with all it holds",
        description="Cancels what is open, then deletes texts, verdicts and scores. A late callback changes nothing.",
        parameters=(_BATCH,),
        answers=(Answer(status=204, description="It is gone for every reader."),),
        problems=_READ,
    ),
    _change(
        "start",
        "Begin judging",
        "Changes nothing when it runs already; 409 when its state does not allow it.",
    ),
    _change("resume", "Go on after a pause", "409 when its state does not allow it."),
    _change("pause", "Plan and send nothing more for now", "What is under way still arrives and counts."),
    _change("cancel", "End the batch as it stands", "Open comparisons are cancelled, also at the provider."),
    Operation(
        method="POST",
        path=f"{ONE}/add",
        name="addComparisons",
        module="cj",
        summary="Go on with a finished batch for so many comparisons",
        description=(
            "They are planned as they would have been without the end, from the same seed, whatever reliability was "
            "reached; a budget still ends it. `beyond` is the number of comparisons `planned` when this was decided: with it, a repeat adds "
            "nothing. 409 when the batch has not finished, another number was added to the same `beyond`, or no pair or "
            "no money is left."
        ),
        parameters=(_BATCH,),
        body=TypeAdapter(Addition),
        example={"comparisons": 45, "beyond": 150},
        answers=(Answer(status=200, description="The batch as it is now.", body=answers.BATCH),),
        problems=(
            NotFound,
            Conflict,
            MalformedBody,
            InvalidRequest,
            RequestTimeout,
            TooLarge,
            StoreUnavailable,
        ),
    ),
    Operation(
        method="GET",
        path=f"{ONE}/ranking",
        name="ranking",
        module="cj",
        summary="Essays by score, best first",
        description="Scores in logits; `low` and `high` bound a score with 95 % probability. Null until an essay has a verdict.",
        parameters=(_BATCH,),
        answers=(Answer(status=200, description="The ranking.", body=answers.RANKING),),
        problems=_READ,
    ),
    Operation(
        method="GET",
        path=f"{ONE}/judges",
        name="judges",
        module="cj",
        summary="The judges of a batch: bias, agreement, consistency",
        description="Over the complete waves in the shown scores. A figure is null where there is nothing to compute it from.",
        parameters=(_BATCH,),
        answers=(Answer(status=200, description="Each judge, and each two.", body=reports.JUDGES),),
        problems=_READ,
    ),
    Operation(
        method="GET",
        path=f"{ONE}/diagnostics",
        name="diagnostics",
        module="cj",
        summary="How far the scores can be trusted, and what a person should look at",
        description="Reliability by several methods and over time, misfit of essays, circular triads, the list of essays that need a human look.",
        parameters=(_BATCH,),
        answers=(Answer(status=200, description="The diagnostics.", body=reports.DIAGNOSTICS),),
        problems=_READ,
    ),
    Operation(
        method="GET",
        path=f"{ONE}/grades",
        name="grades",
        module="cj",
        summary="Grades by anchors: the probability of each",
        description="`reason` says why there are none when the anchors do not carry them: then this is a ranking, not grades.",
        parameters=(
            _BATCH,
            Parameter(
                name="scale",
                where="query",
                description="The scale, by the name of its file; without it the first that has the level of every anchor.",
                schema={"type": "string", "maxLength": 100},
            ),
        ),
        answers=(Answer(status=200, description="The grades.", body=reports.GRADES),),
        problems=_READ,
    ),
    Operation(
        method="POST",
        path=f"{ONE}/what-if",
        name="whatIf",
        module="cj",
        summary="The ranking without a judge, an essay, an anchor or the position term",
        description="The verdicts there are, fitted anew; nobody is asked, and the batch stays as it is.",
        parameters=(_BATCH,),
        body=TypeAdapter(Question),
        example={"without_judges": [0], "position_term": False},
        answers=(Answer(status=200, description="Both rankings.", body=what_if.ANSWER),),
        problems=(NotFound, MalformedBody, InvalidRequest, RequestTimeout, TooLarge, StoreUnavailable),
    ),
    Operation(
        method="GET",
        path=f"{ONE}/export",
        name="exportBatch",
        module="cj",
        summary="The batch as evidence, in one file",
        description="A zip with every comparison, settings, seed, versions and hashes, the same bytes for the same batch; `fit --bundle` makes its scores again. No text of an essay is in it.",
        parameters=(
            _BATCH,
            Parameter(
                name="format",
                where="query",
                description="What to export.",
                schema={"type": "string", "enum": ["bundle"], "default": "bundle"},
            ),
        ),
        answers=(
            Answer(
                status=200,
                description="The zip.",
                body=TypeAdapter(Annotated[str, WithJsonSchema({"type": "string", "format": "binary"})]),
                media_type="application/zip",
            ),
        ),
        problems=_READ,
    ),
    Operation(
        method="GET",
        path=f"{ONE}/comparisons",
        name="comparisons",
        module="cj",
        summary="Every comparison with its verdict, a page at a time",
        parameters=(_BATCH, _AFTER),
        answers=(
            Answer(
                status=200,
                description="A page of comparisons, in sequence.",
                body=answers.COMPARISONS,
                links=(Link(operation="comparison", parameter="comparison_id", pointer="/comparisons/0/id"),),
            ),
        ),
        problems=_READ,
    ),
    Operation(
        method="GET",
        path="/api/v1/comparisons/{comparison_id}",
        name="comparison",
        module="cj",
        summary="One comparison",
        parameters=(in_path("comparison_id", "Its correlation_id."),),
        answers=(Answer(status=200, description="Everything but the texts.", body=answers.COMPARISON),),
        problems=_READ,
    ),
    Operation(
        method="GET",
        path=f"{ONE}/events",
        name="events",
        module="cj",
        summary="The batch as it is judged: server-sent events",
        description=(
            "`verdict` says a result in words (`order`, `sentence`, `detail`, `judge_kind`); its id numbers results as "
            "they came in. `state` is a picture of the moment, whose `ranking` is null when it has not changed. `done` "
            "ends the stream. A client that reconnects with "
            "`Last-Event-ID` gets every verdict after it. The stream stays open until the batch has ended."
        ),
        parameters=(
            _BATCH,
            Parameter(
                name="after",
                where="query",
                description="Where to begin when there is no `Last-Event-ID`.",
                schema={"type": "integer", "minimum": 0, "maximum": 10**18 - 1, "default": 0},
            ),
            Parameter(
                name="Last-Event-ID",
                where="header",
                description="The id of the last `verdict` seen; browsers send it by themselves.",
                schema={"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
            ),
        ),
        answers=(
            Answer(
                status=200,
                description="The stream; the schema is of each event.",
                body=TypeAdapter(StreamEvent),
                media_type="text/event-stream",
            ),
        ),
        problems=_READ,
    ),
)
