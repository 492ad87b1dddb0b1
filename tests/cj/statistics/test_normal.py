import math

import numpy as np
import pytest

from app.cj.statistics.normal import below, between, density, quantiles, wilson_interval


def test_known_values_of_the_normal_distribution() -> None:
    assert below(np.array([-math.inf, -1.959963984540054, 0.0, 1.0, math.inf])) == pytest.approx(
        [0.0, 0.025, 0.5, 0.8413447460685429, 1.0]
    )
    assert density(np.array([0.0, math.inf])) == pytest.approx([0.3989422804014327, 0.0])
    assert quantiles(np.array([0.025, 0.5])) == pytest.approx([-1.959963984540054, 0.0])


def test_the_mass_far_out_is_as_exact_on_the_right_as_on_the_left() -> None:
    left, right = between(np.array(-30.0), np.array(-20.0)), between(np.array(20.0), np.array(30.0))
    assert left == right
    assert float(right) == pytest.approx(2.7536241186061556e-89, rel=1e-12)
    assert float(between(np.array(-math.inf), np.array(math.inf))) == 1.0


def test_wilsons_interval_of_known_cases() -> None:
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.27753279), abs=1e-6)
    assert wilson_interval(8, 10) == pytest.approx((0.49016247, 0.94331784), abs=1e-6)
    assert wilson_interval(0, 0) == (0.0, 1.0)
