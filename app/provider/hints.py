"""What to do about a comparison that its judge could not decide, by the class of the failure."""

from __future__ import annotations

from collections.abc import Mapping

from app.errors import JudgeFailed

_THEN = "then send a new comparison with a new correlation_id."
_HINTS: Mapping[str, str] = {
    "auth": f"Put the key of {{name}} right (`providers test {{name}}` tries it and costs nothing), {_THEN}",
    "quota": f"The account at {{name}} needs money or a higher limit; {_THEN}",
    "rejected": f"Put the name of the model, judges.{{name}}.base_url or judges.{{name}}.structured right, {_THEN}",
    "wrong_model": "Where the server calls this model by another name, list that as `names` of the model in a catalogue"
    f" of your own (docs/judges.md); {_THEN}",
    "too_long": "Send shorter texts, or leave more room: max_tokens of the request; answer_tokens and context_tokens of"
    " the model in a catalogue of your own (docs/judges.md). It needs a new correlation_id.",
    "refused": "The same judge will most likely refuse it again; ask another one, with a new correlation_id, or a person.",
    "malformed": "Send a new comparison with a new correlation_id. Where many end so, the model cannot keep to the form:"
    " ask another one, or change judges.{name}.structured.",
}


def hint(code: str, lane: str) -> str:
    """For people; the lane is named provider/model."""
    return _HINTS.get(code, JudgeFailed.hint).format(name=lane.partition("/")[0])
