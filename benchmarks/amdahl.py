"""How much of a step does not get shorter with more workers.

Amdahl's law: a step of n workers takes T(n) = serial + parallel / n. The two are fitted to the
measured T(n) by least squares, as a line over 1 / n; with two worker counts it goes through both.
The serial fraction is serial / (serial + parallel): of the step with one worker, as fitted. It is
above 1 where more workers are slower, and below 0 where they are faster than their number.

Source: Amdahl 1967, "Validity of the single processor approach"; the fit is Karp and Flatt's metric
(1990) for more than one n.
"""

from collections.abc import Mapping


def serial_fraction(step_s: Mapping[int, float]) -> float | None:
    """Fit the law to the times of a step by workers; None with fewer than two worker counts."""
    if len(step_s) < 2:
        return None
    shares = [1 / workers for workers in step_s]
    mean_share = sum(shares) / len(shares)
    mean_s = sum(step_s.values()) / len(step_s)
    pairs = zip(shares, step_s.values(), strict=True)
    covariance = sum((share - mean_share) * (seconds - mean_s) for share, seconds in pairs)
    parallel_s = covariance / sum((share - mean_share) ** 2 for share in shares)
    serial_s = mean_s - parallel_s * mean_share
    return serial_s / (serial_s + parallel_s)
