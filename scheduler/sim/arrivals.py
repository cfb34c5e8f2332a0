"""Arrivals of requests in the shape of a public serverless trace.

Azure Functions 2021 (Zhang et al., SOSP'21) shows inter-arrival times with a coefficient of
variation well above 1, and rates that wander over seconds. Drawn here: lognormal gaps times a
lognormal rate that is redrawn every few dozen requests, scaled so that the load comes out exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GAP_SIGMA = 1.2  # of single gaps: coefficient of variation 1.8
RATE_SIGMA = 0.5  # of the wandering rate
RATE_REQUESTS = 32  # requests for which a rate holds


def bursty(seconds: float, service_ns: int, load: float, seed: int) -> npt.NDArray[np.uint64]:
    """Arrival times in ns within [0, seconds), such that service_ns each makes up the load.

    Raises ValueError unless 0 < load < 1 and one request fits.
    """
    if not 0 < load < 1:
        raise ValueError("load must lie between 0 and 1")
    count = int(seconds * 1e9 * load / service_ns)
    if count < 1:
        raise ValueError("not one request of this service fits into that time at that load")
    random = np.random.Generator(np.random.PCG64(seed))
    gaps = np.exp(random.normal(0.0, GAP_SIGMA, count))
    rates = np.exp(random.normal(0.0, RATE_SIGMA, -(-count // RATE_REQUESTS)))
    gaps *= np.repeat(rates, RATE_REQUESTS)[:count]
    times = np.cumsum(gaps)
    last_gap = random.exponential(gaps.mean())
    return (times * (seconds * 1e9 / (times[-1] + last_gap))).astype(np.uint64)
