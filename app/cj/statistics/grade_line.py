"""Where on the scale each grade begins: an ordinal probit on essays whose grade is known (anchors).

An anchor with score x ~ N(m, s^2) was given grade k when c_k < x + e <= c_(k+1), with e ~ N(0, r^2) the error of
whoever graded it. So P(grade k) = Phi((c_(k+1) - m) / sqrt(s^2 + r^2)) - Phi((c_k - m) / sqrt(s^2 + r^2)): the
uncertainty of the score is integrated out (McKelvey & Zavoina 1975; with measurement error Carroll et al. 2006).
Twelve anchors cannot place eight free thresholds, therefore the shape that the grades have in a population is the
prior: it may be shifted and stretched as a whole, and each gap may differ.
"""

from dataclasses import dataclass

import numpy as np

from app.cj.statistics import FloatArray, IntArray, NotConverged
from app.cj.statistics.normal import between, density

_SHIFT_SD = 2.0  # logits: where the population stands is left to the anchors
_LOG_STRETCH_SD = 0.5  # a class may well be half as varied as the population
_LOG_GAP_SD = 0.35
_TYPICAL_NOISE, _LOG_NOISE_SD = 0.5, 0.5  # logits of a grader's error, and how sure that is
_LEAST_CHANCE = 1e-300
_HESSIAN_STEP = 1e-5
_GRADIENT_TOLERANCE = 1e-7
_MAX_STEPS = 200
_LONGEST_STEP = 2.0  # of any parameter; most of them are logarithms
_LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e12
_SHIFT, _STRETCH, _NOISE, _GAPS = 0, 1, 2, 3  # places of the parameters


@dataclass(frozen=True, slots=True, eq=False)
class GradeLine:
    """Thresholds between K grades, in logits.

    `thresholds`: shape (K - 1,), ascending, c_1 to c_(K-1) above; grade 0 lies below the first of them.
    `threshold_errors`: their posterior sd. `noise`: sd of the graders' error. `severity`: mean distance of the thresholds above those of the
    population's shape; positive when the anchors were graded more strictly than the shares say, with
    `severity_error`, its posterior sd. `variants`: shape (2 d, K - 1), equally likely thresholds that stand for the
    uncertainty of all d parameters.
    """

    thresholds: FloatArray
    threshold_errors: FloatArray
    noise: float
    severity: float
    severity_error: float
    variants: FloatArray

    def probabilities(self, scores: FloatArray, standard_errors: FloatArray) -> FloatArray:
        """P(grade) per essay, shape (n, K), rows sum to 1: over the uncertainty of score and thresholds.

        The graders' error is not added: asked is the grade that belongs to the essay, not what one grader says.
        """
        spread = np.maximum(standard_errors, 1e-9)[:, None]
        total = np.zeros((len(scores), self.thresholds.size + 1))
        for variant in self.variants:
            edges = (np.concatenate(([-np.inf], variant, [np.inf])) - scores[:, None]) / spread
            total += between(edges[:, :-1], edges[:, 1:])
        return np.asarray(total / total.sum(axis=1, keepdims=True), dtype=np.float64)


def grade_line(scores: FloatArray, variances: FloatArray, grades: IntArray, shape: FloatArray) -> GradeLine:
    """Posterior mode of the thresholds from anchors: scores, their variances and grades 0..K-1, shape (a,).

    `shape`: thresholds of the population in logits, shape (K - 1,), strictly ascending. Priors: shift N(0, 2^2), log
    stretch N(0, .5^2), log of each gap beside the stretched one of the population N(0, .35^2), log noise N(log .5, .5^2). Uncertainty by Laplace's
    approximation, carried through by 2 d points of third-degree cubature (Arasaratnam & Haykin 2009).

    Raises:
        NotConverged: the search for the mode reached its limit.
    """
    problem = _Problem(scores, variances, grades, shape)
    mode, hessian = _descend(problem)
    try:
        root = np.linalg.cholesky(np.linalg.inv(hessian))
    except np.linalg.LinAlgError as error:
        raise NotConverged("the thresholds are not determined where their search ended") from error
    reach = np.sqrt(len(mode)) * root.T
    variants = np.array([problem.thresholds(point) for point in np.concatenate((mode + reach, mode - reach))])
    thresholds = problem.thresholds(mode)
    return GradeLine(
        thresholds=thresholds,
        threshold_errors=variants.std(axis=0),
        noise=float(np.exp(mode[_NOISE])),
        severity=float((thresholds - shape).mean()),
        severity_error=float(variants.mean(axis=1).std()),
        variants=variants,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The negative log posterior of (shift, log stretch, log noise, log gaps...), shape (3 + K - 2,)."""

    scores: FloatArray
    variances: FloatArray
    grades: IntArray
    shape: FloatArray

    @property
    def size(self) -> int:
        return _GAPS + len(self.shape) - 1

    @property
    def prior(self) -> tuple[FloatArray, FloatArray]:
        """Mean and sd of each parameter."""
        mean, sd = np.zeros(self.size), np.full(self.size, _LOG_GAP_SD)
        mean[_NOISE] = np.log(_TYPICAL_NOISE)
        sd[[_SHIFT, _STRETCH, _NOISE]] = _SHIFT_SD, _LOG_STRETCH_SD, _LOG_NOISE_SD
        return mean, sd

    def thresholds(self, point: FloatArray) -> FloatArray:
        """The middle threshold is shifted, the others follow by their gaps; always ascending."""
        steps = np.concatenate(([0.0], np.cumsum(self._gaps(point))))
        middle = len(steps) // 2
        return np.asarray(self.shape[middle] + point[_SHIFT] + steps - steps[middle], dtype=np.float64)

    def value(self, point: FloatArray) -> float:
        low, high = self._edges(point)
        mean, sd = self.prior
        surprise = -np.log(np.maximum(between(low, high), _LEAST_CHANCE)).sum()
        return float(surprise + np.square((point - mean) / sd).sum() / 2.0)

    def gradient(self, point: FloatArray) -> FloatArray:
        low, high = self._edges(point)
        mean, sd = self.prior
        total = self.variances + np.exp(2.0 * point[_NOISE])
        chance = np.maximum(between(low, high), _LEAST_CHANCE)
        slopes = self._threshold_slopes(point)
        result = (point - mean) / sd**2
        for edge, above, sign in ((high, self.grades, -1.0), (low, self.grades - 1, 1.0)):
            real = np.isfinite(edge)
            pull = sign * density(edge[real]) / chance[real]
            result += slopes[:, above[real]] @ (pull / np.sqrt(total[real]))
            result[_NOISE] -= float(pull @ (edge[real] * np.exp(2.0 * point[_NOISE]) / total[real]))
        return np.asarray(result, dtype=np.float64)

    def hessian(self, point: FloatArray) -> FloatArray:
        """Central differences of the gradient, made symmetric."""
        steps = np.eye(self.size) * _HESSIAN_STEP
        rows = np.array([self.gradient(point + step) - self.gradient(point - step) for step in steps])
        return np.asarray((rows + rows.T) / (4.0 * _HESSIAN_STEP), dtype=np.float64)

    def _gaps(self, point: FloatArray) -> FloatArray:
        return np.asarray(np.exp(point[_STRETCH] + point[_GAPS:]) * np.diff(self.shape), dtype=np.float64)

    def _edges(self, point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper edge of each anchor's grade, in sd around its score."""
        ends = np.concatenate(([-np.inf], self.thresholds(point), [np.inf]))
        sd = np.sqrt(self.variances + np.exp(2.0 * point[_NOISE]))
        return (ends[self.grades] - self.scores) / sd, (ends[self.grades + 1] - self.scores) / sd

    def _threshold_slopes(self, point: FloatArray) -> FloatArray:
        """Derivative of each threshold by each parameter, shape (size, K - 1)."""
        gaps = self._gaps(point)
        place = np.arange(len(self.shape))
        middle = len(place) // 2
        crossed = (np.arange(len(gaps))[:, None] < place) - 1.0 * (np.arange(len(gaps)) < middle)[:, None]
        slopes = np.zeros((self.size, len(place)))
        slopes[_SHIFT] = 1.0
        slopes[_GAPS:] = gaps[:, None] * crossed
        slopes[_STRETCH] = slopes[_GAPS:].sum(axis=0)
        return slopes


def _descend(problem: _Problem) -> tuple[FloatArray, FloatArray]:
    """Newton from the prior mean, damped (Levenberg 1944) where the curvature is not yet positive."""
    point, damping = problem.prior[0], 0.0
    for _ in range(_MAX_STEPS):
        gradient, hessian = problem.gradient(point), problem.hessian(point)
        if float(np.abs(gradient).max()) <= _GRADIENT_TOLERANCE:
            return point, hessian
        point, damping = _downhill(problem, point, gradient, hessian, damping=damping)
    raise NotConverged(f"the thresholds were not found in {_MAX_STEPS} steps")


def _downhill(
    problem: _Problem, point: FloatArray, gradient: FloatArray, hessian: FloatArray, *, damping: float
) -> tuple[FloatArray, float]:
    """One step that does not lose ground (beyond rounding), and the damping to begin the next one with."""
    value, unit = problem.value(point), np.eye(problem.size)
    while damping < _MOST_DAMPING:
        damped = hessian + damping * unit
        if float(np.linalg.eigvalsh(damped)[0]) > 0.0:
            step = np.linalg.solve(damped, gradient)
            step *= min(1.0, _LONGEST_STEP / float(np.abs(step).max()))
            candidate = point - step
            if problem.value(candidate) <= value + 1e-12 * (1.0 + abs(value)):
                return candidate, damping / 10.0 if damping > _LEAST_DAMPING else 0.0
        damping = max(_LEAST_DAMPING, damping * 10.0)
    raise NotConverged("no step brings the thresholds closer to the anchors")
