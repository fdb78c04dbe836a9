"""Winters that may come: a tape drawn to agree with this morning's announcements, and with nothing else of the real one.

`Shown` is what a player knows of the weather and of the dates; it is all that an imagined tape is made of, beside its own seed. The
chances of storms go on from where they were announced (the martingale of `weather`), the lows from the forecast and its known error, the
price from today's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from overwinter.worlds.rng import Stream

from .config import BEDS, SENSORS, Config
from .weather import FAULT_KINDS, LEADS, STORM_LASTS, Night, Tape, mean_low_c, season, storm_prior

# What each stream is for; numbers of their own, so that no drawing repeats the real winter even under its seed.
_NOTES, _STORM, _LOW, _FORECAST, _MEASURE, _ROAD, _PEST, _FAULT = range(101, 109)
_ANOMALY_VAR_C2 = 1.8**2 / (1.0 - 0.75**2)
"""Variance of a night's low about its long-term mean."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the player has been shown of the weather, the price and the dates.

    Attributes:
        forecast: this morning's, for tonight and the nights after: low in °C without a storm, chance in % that a storm arrives.
        storm_night: which night of a storm the last one was; 0 for none.
        seed_bed, outbreak_day, holiday_start, loan_due: as the notes said, None while they have not come.
    """

    winter: int
    day: int
    forecast: tuple[tuple[int, int], ...]
    price_cents: int
    storm_night: int
    seed_bed: int | None = None
    outbreak_day: int | None = None
    holiday_start: int | None = None
    loan_due: int | None = None


@lru_cache(maxsize=256)
def imagined_tape(seed: int, shown: Shown, config: Config) -> Tape:
    """One winter that agrees with what was shown. `nights` before `shown.day` are never looked at; they repeat the first one drawn."""
    days = config.days
    notes, quarter = Stream(seed, shown.winter, _NOTES), days // 4
    # Drawn whether needed or not, so that what is known later changes nothing else.
    seed_bed, outbreak_day = notes.below(len(BEDS)), round(days * notes.uniform(0.50, 0.62))
    holiday_start, loan_due = round(days * notes.uniform(0.35, 0.65)), round(days * notes.uniform(0.62, 0.72))
    nights = _nights(seed, shown, config)
    return Tape(
        nights=nights,
        seed_bed=seed_bed if shown.seed_bed is None else shown.seed_bed,
        outbreak_day=outbreak_day if shown.outbreak_day is None else shown.outbreak_day,
        holiday_start=holiday_start if shown.holiday_start is None else shown.holiday_start,
        loan_due=loan_due if shown.loan_due is None else shown.loan_due,
        market_days=(quarter, 2 * quarter, 3 * quarter),
    )


def _storms(seed: int, shown: Shown, days: int) -> tuple[dict[int, list[float]], dict[int, int]]:
    """By night: the chances announced 0..3 days before (as far as they are still to be announced), and which night of a storm it is."""
    chances: dict[int, list[float]] = {}
    blowing: dict[int, int] = {}
    luck = Stream(seed, shown.winter, _STORM)
    number = shown.storm_night
    left = 0
    while number and luck.coin(STORM_LASTS[number + left]):
        left += 1
    for night in range(shown.day, days + LEADS + 1):
        draw, ahead = Stream(seed, shown.winter, _STORM, night), night - shown.day
        if ahead < LEADS:
            q, to_come = shown.forecast[ahead][1] / 100.0, ahead
        else:
            q, to_come = storm_prior(night, days), LEADS
        announced = [q] * (LEADS - to_come)
        for _ in range(to_come):
            sharpness = draw.uniform(0.1, 0.6)
            q = (1.0 - sharpness) * q + (sharpness if draw.coin(q) else 0.0)
            announced.append(q)
        chances[night] = announced[::-1]
        arrives, size = draw.coin(q), draw.uniform()
        if arrives:
            left, number = 1 + (size >= 0.3) + (size >= 0.7), 1
        elif left > 0:
            number += 1
        blowing[night] = number if left > 0 else 0
        left = max(0, left - 1)
    return chances, blowing


def _calm_lows(seed: int, shown: Shown, days: int) -> dict[int, float]:
    """Lows without storms: near what was announced where it was, a fresh autoregression after that."""
    draw, lows, anomaly = Stream(seed, shown.winter, _LOW), {}, 0.0
    for night in range(shown.day, days + LEADS + 1):
        ahead, mean_c = night - shown.day, mean_low_c(night, days)
        if ahead < LEADS:
            error_var = (0.7 + 0.5 * ahead) ** 2
            weight = _ANOMALY_VAR_C2 / (_ANOMALY_VAR_C2 + error_var)
            anomaly = weight * (shown.forecast[ahead][0] - mean_c) + (weight * error_var) ** 0.5 * draw.bell()
        else:
            anomaly = 0.75 * anomaly + 1.8 * draw.bell()
        lows[night] = mean_c + anomaly
    return lows


def _nights(seed: int, shown: Shown, config: Config) -> tuple[Night, ...]:
    days, winter = config.days, shown.winter
    chances, blowing = _storms(seed, shown, days)
    lows = _calm_lows(seed, shown, days)
    measure, road = Stream(seed, winter, _MEASURE), Stream(seed, winter, _ROAD)
    pest, fault, guess = Stream(seed, winter, _PEST), Stream(seed, winter, _FAULT), Stream(seed, winter, _FORECAST)
    price_anomaly = shown.price_cents / 100.0 - 1.0 - 0.2 * season(shown.day, days)
    nights: list[Night] = []
    for day in range(shown.day, days + 1):
        first, storm = day == shown.day, blowing[day]
        if not first:
            price_anomaly = 0.93 * price_anomaly + 0.05 * road.bell()
        price_eur = 1.0 + 0.2 * season(day, days) + price_anomaly + (0.08 if storm else 0.0)
        forecast = tuple(
            (round(lows[day + k] + (0.7 + 0.5 * k) * guess.bell()), round(100 * chances[day + k][k]))
            for k in range(LEADS)
        )
        nights.append(
            Night(
                low_c=lows[day] - (config.storm_chill_c if storm else 0.0),
                storm_night=storm,
                sun_c=config.sun_spread_c * measure.bell(),
                price_cents=shown.price_cents if first else round(100 * max(0.6, price_eur)),
                holdup=road.coin(config.holdup_probability),
                forecast=shown.forecast if first else forecast,
                noise=tuple(measure.bell() for _ in range(5)),
                aphids=tuple(_arrival(pest) for _ in BEDS),
                faults=tuple(_fault(fault, config.fault_probability) for _ in SENSORS),
            )
        )
    return (nights[0],) * shown.day + tuple(nights)


def _arrival(draw: Stream) -> float:
    flies, size = draw.coin(0.015), draw.uniform(0.5, 3.0)
    return size if flies else 0.0


def _fault(draw: Stream, probability: float) -> tuple[str, float] | None:
    if not draw.coin(probability):
        return None
    kind = FAULT_KINDS[draw.below(3)]
    sign = 1.0 if draw.coin(0.6) else -1.0
    size = draw.uniform(0.12, 0.3) if kind == "drift" else draw.uniform(2.0, 4.5)
    return kind, sign * size
