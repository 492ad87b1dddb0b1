"""The judge that is a language model: one question, at most one repair, a strict verdict or a failure with its class."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import anyio
import anyio.to_thread

from app.contracts import JudgeKind, LLMComparisonRequest, LLMConfigOverrides, TokenUsage
from app.errors import ConfigurationError, InvalidRequest
from app.provider.judges.llm.choice import Choice, choose
from app.provider.judges.llm.failures import failure
from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.model import FREE, Model, Usage
from app.provider.judges.llm.naming import is_same_model
from app.provider.judges.llm.prompt import Prompt, PromptTemplate
from app.provider.judges.llm.suspicions import flags_of
from app.provider.judges.llm.verdict import Unreadable, WrittenVerdict, read_verdict
from app.provider.judges.llm.wire import Ask, Format, Repair, Reply, Stop
from app.provider.judges.protocol import EXPIRED, JudgeError, Spent, Verdict

_NAME = re.compile(r"[A-Za-z0-9_./:@+-]{1,200}")
"""What is passed on of a model's name: a server can write anything there, words of an essay too."""
REPAIRED = 4_000
"""Characters of an unreadable answer that are shown to its model again."""
USUAL_ANSWER = 400
"""Tokens of an answer without reasoning, before one has been seen; lanes learn what is usual for their model."""
LAST_WORDS = 0.5
"""Seconds before whoever waits cuts a comparison off: time to say what it cost."""
LONG_TEXTS = 20_000
"""Characters: looking for suspicions takes a few milliseconds there; longer texts are looked at in a thread."""


class LLMJudge:
    """Asks the models of one provider; the first of `models` unless the request names another.

    `timeout` is for a whole comparison, its repair included; it must be shorter than the lane's, which knows no cost.
    `start_again` is asked before a repair, which is one more call in the provider's eyes: 0 when it may start and
    counts as started, else the seconds to wait before asking again. It gets the name of the lane.
    """

    kind = JudgeKind.LLM

    def __init__(
        self,
        *,
        provider: str,
        wire: Format,
        client: ModelClient,
        models: Sequence[Model],
        template: PromptTemplate,
        timeout: float = 60.0,
        start_again: Callable[[str], float] = lambda _: 0.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        if not models:
            raise ConfigurationError(f"judges.{provider}: no model is named")
        for model in models:
            if model.structured not in wire.structured:
                known = ", ".join(sorted(wire.structured))
                raise ConfigurationError(
                    f"judges.{provider}: {model.name}: {model.structured!r} output is not known here; {known} are"
                )
        self._provider = provider
        self._wire = wire
        self._client = client
        self._default = models[0]
        self._models = {model.name: model for model in models}
        self._template = template
        self._timeout = timeout
        self._start_again = start_again
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep

    def lane(self, overrides: LLMConfigOverrides) -> str:
        """One lane for each model, as providers limit them; how it is asked makes no difference."""
        return self._lane(self._choice(overrides).model)

    def check(self, request: LLMComparisonRequest) -> None:
        """Refuse texts that do not fit into the model's context, before anything is spent."""
        choice = self._choice(request.llm_config_overrides)
        model = choice.model
        room = round((model.context_tokens - choice.answer_tokens) * model.bytes_per_token)
        size = self._template.write(request).size
        if size > room:
            longest = max(("user_prompt", "essay_a", "essay_b"), key=lambda name: len(getattr(request, name)))
            fault = f"too long: the prompt would have {size} bytes, and {model.name!r} reads about {room}"
            raise InvalidRequest(f"{longest}: {fault}", errors=((longest, fault),))

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        """Decide; `JudgeError` codes stand in `failures.py`, and each error has the cost of what was answered.

        It ends in time to say so: a deadline of the caller's that comes first makes it `expired`.
        """
        choice = self._choice(request.llm_config_overrides)
        prompt = self._template.write(request)
        talk = _Talk(choice, prompt)
        trouble: JudgeError | None = None
        written: WrittenVerdict | None = None
        seconds = min(self._timeout, _seconds_granted())
        with anyio.move_on_after(seconds):
            try:
                written = await self._decide(talk, seconds)
            except JudgeError as error:
                trouble = error
        spent = talk.spent
        if written is None:
            if trouble is None and seconds < self._timeout:
                trouble = JudgeError(EXPIRED, "There was no time left to wait for the answer.")
            trouble = talk.last(trouble or failure("timeout", f"{self._timeout:g} s"))
            trouble.cost_usd, trouble.spent = spent.cost_usd or 0.0, spent
            raise trouble
        return Verdict(
            winner=written.decision,
            confidence=written.certainty,
            justification=written.reasons,
            provider=self._provider,
            model=talk.model,
            judge_kind=self.kind,
            token_usage=TokenUsage(
                prompt_tokens=talk.usage.prompt,
                completion_tokens=talk.usage.completion,
                total_tokens=spent.tokens,
            ),
            cost_usd=spent.cost_usd or 0.0,
            prompt_sha256=prompt.sha256,
            prompt_version=prompt.version,
            flags=await self._flags(request),
            spent=spent,
        )

    def tokens(self, request: LLMComparisonRequest) -> int:
        """See `Metered`."""
        model = self._choice(request.llm_config_overrides).model
        return round(self._template.write(request).size / model.bytes_per_token) + USUAL_ANSWER

    async def _decide(self, talk: _Talk, seconds: float) -> WrittenVerdict:
        """Ask, and when the answer cannot be read, say so once."""
        began = self._monotonic()
        first = await self._turn(talk, talk.ask, self._timeout)
        try:
            return read_verdict(first.text)
        except Unreadable as error:
            talk.fault = error.fault
        took = self._monotonic() - began
        lane = self._lane(talk.ask.model)
        while wait := self._start_again(lane):
            if (
                self._monotonic() - began + wait + took > seconds
            ):  # a repair takes about as long as what it mends
                raise talk.unread("there was no time to ask again within the rate limit")
            await self._sleep(wait)
        repair = Repair(
            answer=first.text.strip()[:REPAIRED] or "(nothing)", complaint=self._template.repair(talk.fault)
        )
        left = self._timeout - (self._monotonic() - began)
        second = await self._turn(talk, replace(talk.ask, repair=repair), max(left, 0.001))
        try:
            return read_verdict(second.text)
        except Unreadable as error:
            fault = error.fault
        raise JudgeError("malformed", f"The answer is no verdict, also when asked again: {fault}.")

    async def _turn(self, talk: _Talk, ask: Ask, seconds: float) -> Reply:
        talk.calls += 1
        answer = await self._client.post(self._wire.build(ask), total=seconds)
        reply = self._wire.read(answer, now=self._clock())
        talk.add(reply)
        talk.model = reply.model if _NAME.fullmatch(reply.model) else ask.model.name
        if not is_same_model(ask.model, reply.model):
            detail = "Another model answered than was asked; its verdict is not used."
            raise JudgeError("wrong_model", detail, trips=True)
        match reply.stop:
            case Stop.DONE:
                return reply
            case Stop.CUT:
                raise JudgeError(
                    "too_long",
                    f"The answer was cut off after {reply.usage.completion} tokens; max_tokens and the model's"
                    " answer_tokens say how long it may be, its context_tokens what there is for texts and answer.",
                )
            case Stop.REFUSED:
                raise failure("refused", "the model declined, or a filter cut in")
            case Stop.BROKEN:
                raise failure("unavailable", "it says that it failed")
            case Stop.UNKNOWN:
                raise JudgeError("malformed", "The model stopped for a reason that is not known.")

    async def _flags(self, request: LLMComparisonRequest) -> tuple[str, ...]:
        a, b = request.essay_a, request.essay_b
        if len(a) + len(b) > LONG_TEXTS:
            return await anyio.to_thread.run_sync(flags_of, a, b)
        return flags_of(a, b)

    def _choice(self, overrides: LLMConfigOverrides) -> Choice:
        return choose(
            overrides,
            provider=self._provider,
            models=self._models,
            default=self._default,
            most_temperature=self._wire.most_temperature,
        )

    def _lane(self, model: Model) -> str:
        return f"{self._provider}/{model.name}"


class _Talk:
    """What was asked of a model in one comparison, and what is known of its answers so far."""

    def __init__(self, choice: Choice, prompt: Prompt) -> None:
        self.ask = Ask(
            model=choice.model,
            prompt=prompt,
            answer_tokens=choice.answer_tokens,
            temperature=choice.temperature,
            effort=choice.effort,
        )
        self.usage = Usage()
        self.calls = 0
        self.model = choice.model.name
        self.said = False
        self.fault = ""
        """What was wrong with an answer that came."""

    @property
    def spent(self) -> Spent:
        price = self.ask.model.price
        if self.said and self.usage == Usage() and price != FREE:
            price = None
        return Spent(
            calls=self.calls,
            prompt_tokens=self.usage.prompt,
            cached_tokens=self.usage.cached,
            completion_tokens=self.usage.completion,
            cost_usd=price.of(self.usage) if price else None,
        )

    def add(self, reply: Reply) -> None:
        """Count an answer. Whatever was said took tokens; a server that counts none leaves its bill unknown."""
        self.usage += reply.usage
        self.said = self.said or bool(reply.text)

    def last(self, trouble: JudgeError) -> JudgeError:
        """How the talk ends: after an answer that was paid for nothing is asked anew, or a budget would not hold.

        Who keeps it learns what a comparison cost with its end, not between tries.
        """
        if not (self.fault and trouble.retryable):
            return trouble
        final = self.unread(f"asking again ended as {trouble.code}")
        final.trips, final.retry_after = trouble.trips, trouble.retry_after
        return final

    def unread(self, why: str) -> JudgeError:
        """The error of an answer that could not be mended."""
        return JudgeError("malformed", f"The answer is no verdict: {self.fault}; {why}.")


def _seconds_granted() -> float:
    """How long a comparison may take that ends before whoever waits for it cuts it off."""
    left = anyio.current_effective_deadline() - anyio.current_time()
    return max(0.0, left - min(LAST_WORDS, left / 4))
