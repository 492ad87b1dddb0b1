"""Whether the scores inside a bundle come out of its verdicts, and whether they are those that were shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.cj.bundle import CLOSE, Bundle, Origin, scores_document
from app.cj.scoring_ranking import ranking
from app.cj.statistics.bradley_terry import Fit, fit
from app.errors import InvalidRequest

_NAMED = 5
_HUGE = 1e300  # nothing in a bundle comes near; NaN is not below it either


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The scores of a bundle, fitted here. `exact`: byte for byte. `largest`: difference of a number, shown ones included.

    `differing` names the fields of `Origin` in which this machine differs from that of the bundle, `unlike` every
    figure of the bundle that did not come out, among them those that were shown.
    """

    fit: Fit
    exact: bool
    largest: float
    differing: tuple[str, ...]
    unlike: tuple[str, ...]

    @property
    def close(self) -> bool:
        """Whether the same came out; with all alike that means to the last byte."""
        return not self.unlike and (self.exact or bool(self.differing))

    @property
    def words(self) -> str:
        """What was seen, in a sentence."""
        here = (
            f"not the same here: {', '.join(self.differing)}" if self.differing else "same lock, same machine"
        )
        if self.unlike:
            more = f" and {len(self.unlike) - _NAMED} more" if len(self.unlike) > _NAMED else ""
            return (
                f"The bundle did NOT come out: {', '.join(self.unlike[:_NAMED])}{more} "
                f"(the largest difference is {self.largest:.1e}; {here})."
            )
        if self.exact:  # what was shown was fitted wave by wave, each from the one before
            apart = f", to {self.largest:.1e}" if self.largest else ""
            return f"The scores of the bundle came out byte for byte ({here}), and are those that were shown{apart}."
        if self.close:
            return f"The scores of the bundle came out to {self.largest:.1e} ({here}), and are those that were shown."
        return f"The scores of the bundle did NOT come out byte for byte, as they should: {here}."


def reproduce(bundle: Bundle, here: Origin) -> Reproduction:
    """Fit the scores of a bundle again; hold all that is inside and all that was shown against them.

    :raises InvalidRequest: no verdict is in the scores, or what is told has not the form of scores.
    """
    if not len(bundle.verdicts):
        raise InvalidRequest("No verdict is in the scores of this bundle, so there is nothing to make again.")
    fitted = fit(bundle.verdicts, len(bundle.names))
    scores = scores_document(bundle.names, bundle.verdicts, fitted)
    found = [
        *_against(_loaded(bundle.scores), _loaded(scores), "scores.json"),
        *_against(_shown(bundle), _to_show(bundle, fitted), "batch.json"),
    ]
    return Reproduction(
        fit=fitted,
        exact=scores == bundle.scores,
        largest=max((apart for _, apart in found), default=0.0),
        differing=tuple(n for n in Origin.__slots__ if getattr(here, n) != getattr(bundle.origin, n)),
        unlike=tuple(place for place, apart in found if not apart <= CLOSE),
    )


def _shown(bundle: Bundle) -> dict[str, Any]:
    try:
        return {
            "reliability": bundle.batch["reliability"],
            "essays": [{"shown": essay["shown"]} for essay in bundle.batch["essays"]],
        }
    except (KeyError, TypeError) as error:
        raise InvalidRequest(f"The bundle does not tell what was shown ({error}).") from error


def _to_show(bundle: Bundle, fitted: Fit) -> dict[str, Any]:
    """The same of the fit. Ranks are those of the scores that were shown: within `CLOSE` either order is right."""
    count = len(bundle.names)
    told = [essay["shown"]["score"] for essay in _shown(bundle)["essays"]]
    known = [one if isinstance(one, float) else None for one in told]
    rows = ranking(bundle.names, [None] * count, known, [None] * count, [0] * count)
    ranks = {row.position: row.rank for row in rows}
    scores, errors = fitted.scores.tolist(), fitted.standard_errors.tolist()
    return {
        "reliability": fitted.reliability,
        "essays": [{"shown": {"rank": ranks[n], "score": scores[n], "se": errors[n]}} for n in range(count)],
    }


def _against(told: Any, found: Any, place: str) -> Iterator[tuple[str, float]]:
    """Each number with how far it is off; a name or a count is either right or infinitely off.

    :raises InvalidRequest: the two have not the same form.
    """
    if isinstance(found, dict) and isinstance(told, dict) and told.keys() == found.keys():
        for key, value in found.items():
            yield from _against(told[key], value, f"{place} {key}")
    elif isinstance(found, list) and isinstance(told, list) and len(told) == len(found):
        for number, (one, other) in enumerate(zip(told, found, strict=True)):
            yield from _against(one, other, f"{place} {number}")
    elif isinstance(found, dict | list):
        raise InvalidRequest(
            f"The bundle has not the form of one: {place} is not as its essays and judges ask for."
        )
    elif isinstance(found, float) and type(told) in {int, float} and abs(told) < _HUGE:
        yield place, abs(told - found)
    else:
        yield place, 0.0 if type(told) is type(found) and told == found else float("inf")


def _loaded(scores: bytes) -> Any:
    try:
        return json.loads(scores)
    except ValueError as error:
        raise InvalidRequest(
            f"The bundle has not the form of one: scores.json is no JSON ({error})."
        ) from error
