"""Scores and honest standard errors from pairwise verdicts: the way in to the Bradley-Terry model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.cj.statistics import FloatArray, IntArray, Mask, NotConverged
from app.cj.statistics.calibration import SLOPE_SD, Calibration, Judges, price_of_slopes
from app.cj.statistics.confidence import (
    ConfidenceLevels,
    Fitted,
    Reading,
    Trial,
    counted,
    graded,
    level_bounds,
    level_means,
    unread,
    untried,
)
from app.cj.statistics.graph import islands, unbounded
from app.cj.statistics.information import Information
from app.cj.statistics.posterior import beyond_mode
from app.cj.statistics.reliability import eb_reliability
from app.cj.statistics.spread import TYPICAL_SIGMA, SpreadSearch, doubted
from app.cj.statistics.tally import Tally, Terms
from app.cj.statistics.verdicts import Verdicts

__all__ = ["SIGMAS", "ConfidenceLevels", "Fit", "Unbounded", "Verdicts", "fit"]

SIGMAS = (1e-3, 1e3)  # beyond, the information matrix is no longer safe to factorise
_FARTHEST = 15.0  # logits: nobody has verdicts enough to show a larger position
_VAGUEST = 100.0  # logits, SE: where the likelihood rises for ever, Newton ends on a slope as flat as this
_SHARPEST = 5.0  # of a log slope, in prior sds: beyond, few verdicts chase each other instead of showing a sharp judge


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What the verdicts say about each item, and about each judge.

    Per item, shape (n,): `scores`, logits, mean 0; `standard_errors`, posterior sd of theta_i - mean(theta);
    `islands`, the number of the connected component: only scores of one island may be compared.
    Per judge configuration, shape (J,): `positions`, the advantage in logits of whoever is shown first, likeliest
    together with these scores; `position_means` and `position_errors`, its posterior mean and sd, by which a judge is
    judged; `slopes`, discrimination, geometric mean 1: at half the slope a judge's odds are the square root; `levels`,
    what the stated confidence is worth. The prior that shrinks the scores shrinks the positions with them, by a tenth
    at 20 verdicts per item; their means are not shrunk. Without a prior both are the same.
    `sigma`: prior sd of the scores, infinite without a prior. `reliability`: see `eb_reliability`, NaN without a prior;
    it rests on `reliability_sigma`, which below 1.3 is what the verdicts alone show (`SpreadSearch.proven_sigma`), and on
    the standard errors that go with it.
    `iterations`: Newton steps.
    """

    scores: FloatArray
    standard_errors: FloatArray
    sigma: float
    reliability: float
    iterations: int
    positions: FloatArray = field(default_factory=lambda: np.zeros(1))
    position_means: FloatArray = field(default_factory=lambda: np.zeros(1))
    position_errors: FloatArray = field(default_factory=lambda: np.zeros(1))
    slopes: FloatArray = field(default_factory=lambda: np.ones(1))
    levels: tuple[ConfidenceLevels, ...] = ()
    reliability_sigma: float = math.nan
    islands: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


def fit(
    verdicts: Verdicts,
    items: int,
    *,
    sigma: float | None = None,
    position: bool = True,
    slopes: bool = True,
    levels: bool = True,
    start: Fit | None = None,
) -> Fit:
    """Posterior mode (MAP) under theta_i ~ N(0, sigma^2), with standard errors.

    Without `sigma` the spread is estimated too, by the Laplace approximation to the marginal likelihood with
    hyperprior log sigma ~ N(log 1.3, 0.6^2). An infinite `sigma` takes every prior on scores and positions away:
    maximum likelihood, each island on a scale of its own with mean 0.

    `position` gives whoever is shown first an advantage with each judge, with prior N(0, 1); its uncertainty is in the
    standard errors. `slopes` lets judges differ in sharpness, if there are several. `levels` reads stated
    confidence where it proves itself (`ConfidenceLevels`). Slopes and levels are taken as known once they are
    fitted, as sigma is. They are averages over the posterior of the scores: without a prior there is none, and all
    judges count alike by their winners, as they do where the verdicts are too few to settle them.

    `start` is an earlier fit to begin from: it saves time and does not change the result. Order and numbering of
    the verdicts do not matter up to `EXACT_ITEMS` items; above, numbering moves sigma and standard errors within
    the error of their estimation. Numbering also deals the pairs into the folds of `Trial`. Reversing all
    verdicts turns scores and positions round exactly.

    Scores of different islands have nothing but the prior in common: each island then has mean 0, and the
    standard errors hold the doubt of the prior about where it lies, so that an essay without verdicts is not
    called certain.

    Raises:
        ValueError: no items, an item number out of range, a sigma out of range, another batch's start.
        Unbounded: without a prior, some items or positions have no finite estimate.
        NotConverged: an iteration reached its limit.
    """
    if sigma is not None and not (SIGMAS[0] <= sigma <= SIGMAS[1] or sigma == math.inf):
        raise ValueError(f"sigma must lie between {SIGMAS[0]} and {SIGMAS[1]} or be infinite, not {sigma}")
    if start is not None and start.scores.shape != (items,):
        raise ValueError(f"the start has {len(start.scores)} items, this batch {items}")
    if sigma == math.inf and (lost := unbounded(verdicts, items)).size:
        raise Unbounded(lost)
    work = _Work(verdicts, items, given=sigma, position=position)
    work.begin(start)
    sharpening = slopes and verdicts.judges > 1 and sigma != math.inf and work.sharpen()
    described = work.read_confidence(sharpening=sharpening) if levels else ()
    return work.finish(described)


class Unbounded(ValueError):
    """Without a prior some scores run off to infinity; `items` are theirs, `judges` those of positions that do."""

    def __init__(self, items: IntArray, judges: IntArray | None = None) -> None:
        self.items = items
        self.judges = np.zeros(0, np.int64) if judges is None else judges
        whose = f"items {items.tolist()}" if items.size else f"the position of judges {self.judges.tolist()}"
        super().__init__(f"without a prior there is no finite estimate for {whose}")


class _Work:
    """One fit under way: winners first, then what is known of the judges, with sigma after each."""

    _terms: Terms
    _search: SpreadSearch
    _sigma: float

    def __init__(self, verdicts: Verdicts, items: int, *, given: float | None, position: bool) -> None:
        self._verdicts = verdicts
        self._items = items
        self._given = given
        self._position = position
        self._judges = Judges.alike(verdicts.judges)
        self._reading = Reading.of(verdicts, [])
        self._steps = 0

    def begin(self, start: Fit | None) -> None:
        """Fit who won, all judges alike.

        Raises:
            Unbounded: without a prior, scores explain as well what positions do, or both together have no end.
        """
        tally = self._tally()
        state = tally.blank()
        free = self._given == math.inf and self._position
        if free:
            self._refuse_vague(
                tally.at(state).information(0.0), np.zeros(self._verdicts.judges, dtype=np.bool_)
            )
        if start is not None:
            state[: self._items] = start.scores
            if len(start.positions) == tally.positions:
                state[self._items :] = start.positions
        try:
            self._settle(tally, state, near=TYPICAL_SIGMA if start is None else min(start.sigma, SIGMAS[1]))
        except NotConverged:
            if not free:  # scores alone have a finite estimate, as `unbounded` made sure
                raise
            raise Unbounded(np.zeros(0, np.int64), np.arange(self._verdicts.judges)) from None

    def sharpen(self) -> bool:
        """Fit slopes, or leave all judges alike where the verdicts do not settle them or bear them out.

        A few verdicts from each judge let some of them seem sharp whatever they say; and a judge who tosses coins agrees
        with a scale that is made of its verdicts alone. So slopes have to be worth their price in evidence.
        """
        before, alike = self._state(), self._evidence()
        try:
            self.calibrate(sharpening=True)
            settled = float(np.log(self._judges.slopes).max()) <= _SHARPEST * SLOPE_SD
            used = settled and self._evidence() - self._price() > alike
        except NotConverged:
            used = False
        if not used:
            self._restore(before)
        return used

    def _price(self) -> float:
        return price_of_slopes(self._search.tally, self._search.mode(self._sigma), self._sigma)

    def _evidence(self) -> float:
        doubt = 0.0 if self._given is not None else doubted(self._sigma)
        return self._search.evidence(self._sigma) - doubt

    def calibrate(self, *, sharpening: bool) -> None:
        """Fit slopes, if `sharpening`, and the confidence that is read; then sigma by its evidence."""
        model = self._model
        calibration = Calibration(
            self._terms,
            counted(self._reading.levels, self._verdicts, self._verdicts.judges),
            self._given,
            self._position,
            sharpening=sharpening,
        )
        self._judges, state, near = calibration.climb(model.judges, model.state, model.sigma)
        self._steps += calibration.steps
        self._settle(self._tally(), state, near=near)

    def read_confidence(self, *, sharpening: bool) -> tuple[ConfidenceLevels, ...]:
        """Try the confidence of each judge, and go on with that which foretells winners."""
        verdicts, plain = self._verdicts, self._model
        hindrances = [untried(verdicts, judge) for judge in range(verdicts.judges)]
        if self._given == math.inf:
            return self._unread(hindrances, "there is no prior")
        eligible = [judge for judge, known in enumerate(hindrances) if known is None]
        if not eligible:
            return tuple(known for known in hindrances if known)
        before = self._state()
        try:
            self._read(eligible, plain, sharpening=sharpening)
        except NotConverged:
            self._restore(before)
            return self._unread(hindrances, "the verdicts do not settle its levels")
        trial = Trial(verdicts, self._items, self._position, plain, self._model)
        gains = {judge: trial.gains(judge) for judge in eligible}
        used = [judge for judge in eligible if gains[judge].mean() > 0.0]
        if not used:
            self._restore(before)
        elif used != eligible:
            self._read(used, plain, sharpening=sharpening)
        return tuple(
            known or self._described(judge, gains[judge], used=judge in used)
            for judge, known in enumerate(hindrances)
        )

    def _read(self, judges: list[int], plain: Fitted, *, sharpening: bool) -> None:
        """From a plain fit to one that reads the confidence of these judges."""
        self._reading = Reading.of(self._verdicts, judges)
        self._judges = plain.judges.graded(self._reading.steps)
        self._search, self._sigma = SpreadSearch(self._tally(), plain.state), plain.sigma
        self.calibrate(sharpening=sharpening)

    def _state(self) -> tuple[Terms, Reading, Judges, SpreadSearch, float]:
        return self._terms, self._reading, self._judges, self._search, self._sigma

    def _restore(self, before: tuple[Terms, Reading, Judges, SpreadSearch, float]) -> None:
        self._terms, self._reading, self._judges, self._search, self._sigma = before

    def _unread(
        self, hindrances: Sequence[ConfidenceLevels | None], reason: str
    ) -> tuple[ConfidenceLevels, ...]:
        """Every judge counts by the winner alone: for a hindrance of their own, or for this reason."""
        verdicts = self._verdicts
        stated = np.bincount(verdicts.judge[graded(verdicts)], minlength=verdicts.judges).tolist()
        return tuple(
            known or unread(reason, verdicts=stated[judge]) for judge, known in enumerate(hindrances)
        )

    @property
    def _model(self) -> Fitted:
        return Fitted(self._judges, self._search.state, self._sigma)

    def _described(self, judge: int, saved: FloatArray, *, used: bool) -> ConfidenceLevels:
        verdicts, items = self._verdicts, self._items
        mine = graded(verdicts) & (verdicts.judge == judge)
        means = np.zeros(0)
        if used:
            state, only = self._search.state, verdicts.where(mine)
            towards = self._judges.slopes[judge] * (state[only.first] - state[only.second])
            if self._position:
                towards = towards + state[items + judge]
            hurdles = self._judges.hurdles[judge, : self._judges.steps[judge]]
            towards = np.where(only.outcome == 1.0, towards, -towards)
            means = level_means(hurdles, self._reading.levels[mine], towards)
        gain = float(saved.mean())
        reason = (
            f"used: it foretells held-out winners better, by {gain:.3f} nats a verdict"
            if used
            else f"not used: it does not foretell held-out winners better ({gain:+.3f} nats a verdict)"
        )
        return ConfidenceLevels(
            level_bounds(verdicts.confidence[mine]),
            means,
            used=used,
            reason=reason,
            gain=gain,
            verdicts=int(mine.sum()),
        )

    def finish(self, described: tuple[ConfidenceLevels, ...]) -> Fit:
        """Standard errors, and all of it together."""
        search, sigma, items = self._search, self._sigma, self._items
        state = search.mode(sigma)
        bets = search.tally.at(state)
        information = bets.information(sigma**-2)
        errors = np.sqrt(information.centred_variances())
        proven = sigma if self._given is not None else search.proven_sigma(likely=sigma)
        doubted = errors
        if proven != sigma:
            curvature = search.tally.at(search.mode(proven)).information(proven**-2)
            doubted = np.sqrt(curvature.centred_variances())
        silent = np.zeros(self._verdicts.judges)
        positions = means = silent
        if self._position:
            positions = means = state[items:]
            if sigma == math.inf:
                self._refuse_vague(information, np.abs(positions) > _FARTHEST)
            else:
                beyond, _ = beyond_mode(search.tally, bets, information)
                means = positions + beyond[items:]
        return Fit(
            scores=state[:items],
            standard_errors=errors,
            sigma=sigma,
            reliability=math.nan if sigma == math.inf else eb_reliability(doubted, proven),
            iterations=self._steps + search.steps,
            positions=positions,
            position_means=means,
            position_errors=np.sqrt(information.position_variances()) if self._position else silent,
            slopes=self._judges.slopes,
            levels=described,
            reliability_sigma=proven,
            islands=islands(self._verdicts, items),
        )

    def _refuse_vague(self, information: Information, far: Mask) -> None:
        """Positions that are `far`, or of which the verdicts tell nothing, have no finite estimate of their own.

        Raises:
            Unbounded: some are such.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            try:
                vague = ~(np.sqrt(information.position_variances()) <= _VAGUEST)
            except (np.linalg.LinAlgError, NotConverged):
                vague = np.ones(self._verdicts.judges, dtype=np.bool_)
        if (vague | far).any():
            raise Unbounded(np.zeros(0, np.int64), np.flatnonzero(vague | far))

    def _tally(self) -> Tally:
        reading, judges = self._reading, self._judges
        self._terms = Terms.of(
            self._verdicts,
            self._items,
            judges=self._verdicts.judges,
            levels=reading.levels,
            steps=reading.steps,
        )
        return Tally(self._terms, slopes=judges.slopes, hurdles=judges.hurdles, position=self._position)

    def _settle(self, tally: Tally, state: FloatArray, *, near: float) -> None:
        self._search = SpreadSearch(tally, state)
        self._sigma = self._search.likely_sigma(near=near) if self._given is None else self._given
        self._search.mode(self._sigma)
