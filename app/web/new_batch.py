"""From dropped files to a batch: the form, what is wrong with it, and the look before anything is spent.

A batch is stored before it is started, so that the look is a page of its own: safe to reload, to share, to come back to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Message

from app.cj.batch import Batch, BatchSettings, NewBatch, NewEssay
from app.cj.essays import FEW_WORDS, MOST_FILES, HandedIn, Remark, least_words, read_files
from app.cj.estimate import estimate
from app.cj.workflow import Workflow
from app.contracts import LLMConfigOverrides
from app.edge import read_body
from app.errors import InvalidRequest, Unavailable
from app.web import words
from app.web.defaults import BatchDefaults, JudgeChoice, Offered
from app.web.rendering import render

_ASKED = {
    "title": "Give the batch a title of at most 200 characters.",
    "question": "Write the question: it is all that judges read before the two essays (at most 20,000 characters).",
    "comparisons_per_essay": "Give a whole number from 1 to 1000.",
    "target_reliability": "Give a number between 0 and 1, such as 0.80.",
    "judge": "Choose who judges.",
    "budget_usd": "Give a sum in US dollars above 0, such as 2.50.",
    "essays": "Hand in at least two essays.",
}
_BUDGET_NEEDED = "Give a budget: this judge costs money."
_PRICE_UNKNOWN = (
    "Leave it empty: nobody here knows what this judge costs, so no budget can be kept. A price can be written into "
    "a file of your own (judges.catalogue): docs/judges.md shows one."
)
_SEPARATOR = "---"


@dataclass(slots=True, kw_only=True)
class Typed:
    """What was typed, kept as typed, with what is wrong by field and by file."""

    title: str = ""
    question: str = ""
    pasted: str = ""
    judge: str = ""
    comparisons_per_essay: str = ""
    target_reliability: str = ""
    budget_usd: str = ""
    faults: dict[str, str] = field(default_factory=dict)
    remarks: Sequence[Remark] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EssayLook:
    """An essay on the page before the start; `few` says that it has fewer words than the rules judge reads."""

    name: str
    level: str | None
    words: int
    few: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a start comes to, in words for the button: `cost` is empty for judges that take nothing.

    `beyond` is what it would come to at most, where the budget is less.
    """

    comparisons: int
    time: str
    cost: str
    beyond: str
    unpriced: tuple[str, ...]


CheckJudge = Callable[[LLMConfigOverrides], Awaitable[None]]
"""Raises `InvalidRequest` for a judge that would not answer; see `ProviderClient`."""


class NewBatches:
    """The pages before a batch runs."""

    def __init__(
        self,
        workflow: Workflow,
        offered: Offered,
        *,
        check_judge: CheckJudge,
        upload_limit: int,
        upload_timeout: float,
    ) -> None:
        self._workflow = workflow
        self._check_judge = check_judge
        self._offered = offered
        self._limit = upload_limit
        self._timeout = upload_timeout

    async def form(self, request: Request) -> Response:
        """GET /batches/new: the empty form."""
        return render(request, "new.html", **self.blank(await self._offered()))

    def blank(self, defaults: BatchDefaults) -> dict[str, Any]:
        """What the templates need for an empty form."""
        typed = Typed(
            judge=defaults.judges[0].name if defaults.judges else "",
            comparisons_per_essay=str(defaults.comparisons_per_essay),
            target_reliability=f"{defaults.target_reliability:.2f}",
        )
        return self._context(typed, defaults)

    def _context(self, typed: Typed, defaults: BatchDefaults) -> dict[str, Any]:
        return {"typed": typed, "defaults": defaults, "limit_mb": self._limit // 10**6}

    async def submit(self, request: Request) -> Response:
        """POST /batches: read what was handed in; store it and go to the look, or show the form with every fault named."""
        defaults = await self._offered()
        async with (await self._buffered(request)).form(
            max_files=MOST_FILES, max_part_size=self._limit
        ) as form:
            typed = _typed(form)
            choice = defaults.judge(typed.judge)
            least = least_words(choice.settings) if choice else 0
            handed_in = read_files([*await _files(form), *pasted_files(typed.pasted)], least_words=least)
        typed.remarks = handed_in.remarks
        new = _new(typed, handed_in, defaults)
        if new is None or not await self._can_judge(typed, new):
            return render(request, "new.html", status=422, **self._context(typed, defaults))
        batch_id = await self._workflow.create(new, start=False)
        return RedirectResponse(f"/batches/{batch_id}/check", status_code=303)

    async def _can_judge(self, typed: Typed, new: NewBatch) -> bool:
        """Whether its judges would answer, else why not is written down; costs nothing.

        A provider that is away cannot be asked: the batch waits for it.
        """
        try:
            for judge in new.settings.judges:
                with suppress(Unavailable):
                    await self._check_judge(judge)
        except InvalidRequest as error:
            typed.faults["judge"] = error.detail
            return False
        return True

    async def _buffered(self, request: Request) -> Request:
        """The request with its body read within bounds on size and time."""
        body = await read_body(request, limit=self._limit, deadline=self._timeout)

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        return Request(request.scope, replay)


def _new(typed: Typed, handed_in: HandedIn, defaults: BatchDefaults) -> NewBatch | None:
    """The batch, or None after writing down every fault."""
    choice = defaults.judge(typed.judge)
    if choice is None:
        typed.faults["judge"] = _ASKED["judge"]
    else:
        _look_at_the_money(typed, choice, defaults)
    settings = _settings(typed, defaults)
    try:
        new = NewBatch(
            title=typed.title.strip(),
            question=typed.question.strip(),
            essays=handed_in.essays,
            settings=settings,
        )
    except ValidationError as error:
        _note(typed, error)
        return None
    return None if typed.faults or handed_in.faults else new


def _look_at_the_money(typed: Typed, choice: JudgeChoice, defaults: BatchDefaults) -> None:
    """Who spends money says how much; where the price is unknown nobody can promise to stop."""
    prices = defaults.prices(choice)
    if typed.budget_usd.strip():
        if None in prices:
            typed.faults["budget_usd"] = _PRICE_UNKNOWN
    elif any(price is not None and price.prompt + price.completion > 0 for price in prices):
        typed.faults["budget_usd"] = _BUDGET_NEEDED


def essay_looks(essays: Sequence[NewEssay]) -> list[EssayLook]:
    """What to show of the essays before the start."""
    counted = [(essay, len(essay.text.split())) for essay in essays]
    return [EssayLook(name=e.name, level=e.level, words=n, few=n < FEW_WORDS) for e, n in counted]


def what_it_comes_to(batch: Batch, essays: Sequence[NewEssay], defaults: BatchDefaults) -> Start:
    """What starting the batch comes to."""
    choice = defaults.choice_of(batch.settings)
    found = estimate(
        [len(essay.text.encode()) for essay in essays],
        len(batch.question.encode()),
        batch.settings,
        defaults.known,
        seconds_each=choice.seconds_each if choice else None,
    )
    return Start(
        comparisons=found.comparisons,
        time="" if found.seconds is None else words.duration(found.seconds),
        cost=words.most(found.cost_usd, found.budget_usd),
        beyond=words.beyond(found.cost_usd, found.budget_usd),
        unpriced=found.unpriced,
    )


def pasted_files(text: str) -> list[tuple[str, bytes]]:
    """Essays pasted into one field, parted by lines of `---`; a first line `# Name` names one."""
    parts: list[list[str]] = [[]]
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.strip() == _SEPARATOR:
            parts.append([])
        else:
            parts[-1].append(line)
    found = ["\n".join(part).strip() for part in parts]
    return [_named(n, part) for n, part in enumerate(filter(None, found), start=1)]


def _named(number: int, part: str) -> tuple[str, bytes]:
    name, body = f"pasted-{number:02}", part
    if part.startswith("# "):
        heading, _, body = part.partition("\n")
        name = heading[2:].strip().replace("/", "-") or name
    return f"{name}.txt", body.encode(errors="replace")


def _typed(form: FormData) -> Typed:
    def text(name: str) -> str:
        value = form.get(name, "")
        return value if isinstance(value, str) else ""

    return Typed(
        title=text("title"),
        question=text("question").replace("\r\n", "\n"),
        pasted=text("pasted"),
        judge=text("judge"),
        comparisons_per_essay=text("comparisons_per_essay"),
        target_reliability=text("target_reliability"),
        budget_usd=text("budget_usd"),
    )


async def _files(form: FormData) -> list[tuple[str, bytes]]:
    """The files; a browser sends one without a name when none was chosen."""
    return [
        (item.filename, await item.read())
        for item in form.getlist("files")
        if isinstance(item, UploadFile) and item.filename
    ]


def _settings(typed: Typed, defaults: BatchDefaults) -> BatchSettings | None:
    choice = defaults.judge(typed.judge) or (defaults.judges[0] if defaults.judges else None)
    try:
        return BatchSettings.model_validate(
            {
                "judges": choice.settings if choice else (),
                "comparisons_per_essay": typed.comparisons_per_essay.strip(),
                "target_reliability": typed.target_reliability.strip().replace(",", "."),
                "budget_usd": typed.budget_usd.strip().replace(",", ".") or None,
                "random_rounds": defaults.random_rounds,
                "audit_share": defaults.audit_share,
                "seed": defaults.seed(),
                "expires_in": defaults.expires_in,
            }
        )
    except ValidationError as error:
        _note(typed, error)
        return None


def _note(typed: Typed, error: ValidationError) -> None:
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(fault["loc"][0])
        if name in _ASKED and name not in typed.faults:
            typed.faults[name] = _ASKED[name]
