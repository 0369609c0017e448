"""Performance profiles and the score: the normalised area under a profile.

Source: Dolan and Moré, "Benchmarking optimization software with performance profiles" (2002); the score is that of
Dahl et al., "Benchmarking neural network training algorithms" (2023), section 4.4.
"""

import numpy as np

ALGOPERF_GRID_POINTS = 100


def profile(ratios: np.ndarray, taus: np.ndarray) -> np.ndarray:
    """Share of workloads with a ratio of at most tau. `ratios` [..., n, w] and `taus` [t] give [..., n, t]."""
    shares: np.ndarray = (ratios[..., None, :] <= taus[:, None]).mean(axis=-1)
    return shares


def exact_shares(ratios: np.ndarray, tau_max: float) -> np.ndarray:
    """What each workload adds to the exact score, as a share of the most that it can: [..., n, w], in [0, 1].

    A workload with ratio r <= tau_max lies under the step function from r on, hence adds tau_max - r.
    """
    shares: np.ndarray = np.clip(tau_max - ratios, 0.0, tau_max - 1.0) / (tau_max - 1.0)
    return shares


def exact_score(ratios: np.ndarray, tau_max: float) -> np.ndarray:
    """Area under each profile from 1 to `tau_max` over its width, in closed form. [..., n, w] gives [..., n]."""
    areas: np.ndarray = exact_shares(ratios, tau_max).mean(axis=-1)
    return areas


def grid_score(ratios: np.ndarray, tau_max: float, points: int = ALGOPERF_GRID_POINTS) -> np.ndarray:
    """The same area by the trapezoid rule on `points` evenly spaced taus, as AlgoPerf's scorer has it."""
    taus = tau_grid(tau_max, points)
    areas: np.ndarray = np.trapezoid(profile(ratios, taus), taus, axis=-1) / (tau_max - 1.0)
    return areas


def tau_grid(tau_max: float, points: int = ALGOPERF_GRID_POINTS) -> np.ndarray:
    return np.linspace(1.0, tau_max, points)
