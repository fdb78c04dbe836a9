"""Winters that may come: a tape drawn to agree with this morning's announcements, and with nothing else of the real one.

`Shown` is what a player knows of the weather and of the dates; it is all that an imagined tape is made of, beside its own seed. The
chances of storms go on from where they were announced (the martingale of `weather`), the lows from the forecast and its known error, the
price from today's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from overwinter.worlds.rng import Stream

from .config import Config
from .weather import (
    LEADS,
    STORM_LASTS,
    Night,
    Sky,
    Streams,
    Tape,
    draw_dates,
    draw_nights,
    duration,
    market_days,
    mean_low_c,
    refined,
    storm_prior,
)

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
    # Drawn whether needed or not, so that what is known later changes nothing else.
    dates = draw_dates(Stream(seed, shown.winter, _NOTES), days)
    known = {name: getattr(shown, name) for name in dates if getattr(shown, name) is not None}
    return Tape(nights=_nights(seed, shown, config), market_days=market_days(days), **{**dates, **known})


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
        announced = [*[q] * (LEADS - to_come), *refined(q, to_come, draw)]
        chances[night] = announced[::-1]
        arrives, lasts = draw.coin(announced[-1]), duration(draw)
        if arrives:
            left, number = lasts, 1
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
    chances, blowing = _storms(seed, shown, config.days)
    sky = Sky(range(shown.day, config.days + 1), _calm_lows(seed, shown, config.days), chances, blowing)
    streams = Streams.of(seed, shown.winter, (_MEASURE, _ROAD, _PEST, _FAULT, _FORECAST))
    nights = tuple(draw_nights(streams, sky, config, price_cents=shown.price_cents, forecast=shown.forecast))
    return (nights[0],) * shown.day + nights
