"""The tape: all that happens to the house whatever is done in it, drawn before the winter begins.

Weather, forecasts, fuel prices, arriving aphids, failing sensors and the dates in the early notes are a function of
(seed, winter, config) alone.

Forecasts are calibrated by construction. The chance that a storm arrives on one night starts at the season's prior and
is refined each morning by  q' = (1 - s) q + s B,  B ~ Bernoulli(q):  a martingale, so that of the nights announced with
p %, p % bring a storm, at every lead. The night itself is Bernoulli of the last q.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from overwinter.worlds.rng import Stream

from .config import BEDS, SENSORS, Config

Forecast: TypeAlias = "tuple[tuple[int, int], ...]"
LEADS = 4
"""Nights in a forecast, tonight included."""
# What each stream is for; a new purpose takes a new number so that old seeds keep their winters.
_NOTES, _STORM, _LOW, _FORECAST, _MEASURE, _ROAD, _PEST, _FAULT = range(1, 9)
INSPECT = 9
FAULT_KINDS = ("bias", "drift", "stuck")
_DURATION_STEPS = (0.3, 0.7)
"""A storm blows one night with 30 %, two with 40 %, three with 30 %."""
STORM_LASTS = (0.0, 0.7, 3.0 / 7.0, 0.0)
"""STORM_LASTS[n]: the chance that a storm that has blown n nights blows tonight too."""


@dataclass(frozen=True, slots=True)
class Night:
    """One day and the night after it."""

    low_c: float
    """Outside low, storm included."""
    storm_night: int
    """0 without a storm, else which night of it this is."""
    sun_c: float
    price_cents: int
    holdup: bool
    """The fuel lorry loses this day."""
    forecast: tuple[tuple[int, int], ...]
    """This morning's, for tonight and the nights after: low in °C without a storm, chance in % that a storm arrives."""
    noise: tuple[float, ...]
    """Standard errors of: east sensor, west sensor, humidity, outside low, thermometer read by hand."""
    aphids: tuple[float, ...]
    """Aphids per leaf that fly in, by bed."""
    faults: tuple[tuple[str, float] | None, ...]
    """A fault that befalls a sensor this night, if it is sound: kind and size in °C (for drift in °C a day)."""


@dataclass(frozen=True, slots=True)
class Tape:
    """One winter. `nights[d]` belongs to day d; day 0 is the night before the player arrives."""

    nights: tuple[Night, ...]
    seed_bed: int
    outbreak_day: int
    holiday_start: int
    loan_due: int
    market_days: tuple[int, int, int]


def season(day: int, days: int) -> float:
    """0 at both ends of the winter, 1 in the middle."""
    x = day / days - 0.5
    return max(0.0, 1.0 - 4.0 * x * x)


def storm_prior(day: int, days: int) -> float:
    return 0.05 + 0.05 * season(day, days)


def mean_low_c(day: int, days: int) -> float:
    """The long-term mean of the outside low, without storms."""
    return -1.0 - 6.0 * season(day, days)


@lru_cache(maxsize=64)
def make_tape(seed: int, winter: int, config: Config) -> Tape:
    days = config.days
    dates = draw_dates(Stream(seed, winter, _NOTES), days)
    return Tape(nights=_nights(seed, winter, config), market_days=market_days(days), **dates)


def draw_dates(notes: Stream, days: int) -> dict[str, int]:
    """What the early notes will say."""
    return {
        "seed_bed": notes.below(len(BEDS)),
        "outbreak_day": round(days * notes.uniform(0.50, 0.62)),
        "holiday_start": round(days * notes.uniform(0.35, 0.65)),
        "loan_due": round(days * notes.uniform(0.62, 0.72)),
    }


def market_days(days: int) -> tuple[int, int, int]:
    quarter = days // 4
    return quarter, 2 * quarter, 3 * quarter


def _storms(seed: int, winter: int, days: int) -> tuple[list[tuple[float, ...]], list[int]]:
    """For each night the chances announced 0..3 days before, and which night of a storm it is."""
    chances, blowing = [], []
    left, night_number = 0, 0
    for day in range(days + LEADS + 1):
        draw = Stream(seed, winter, _STORM, day)
        announced = refined(storm_prior(day, days), LEADS, draw)
        chances.append(tuple(reversed(announced)))
        arrives, lasts = draw.coin(announced[-1]), duration(draw)
        if arrives and day > 0:
            left, night_number = lasts, 1
        elif left > 0:
            night_number += 1
        blowing.append(night_number if left > 0 else 0)
        left = max(0, left - 1)
    return chances, blowing


def refined(q: float, times: int, draw: Stream) -> list[float]:
    """A storm's chance on further mornings; see the module docstring."""
    announced = []
    for _ in range(times):
        sharpness = draw.uniform(0.1, 0.6)
        q = (1.0 - sharpness) * q + (sharpness if draw.coin(q) else 0.0)
        announced.append(q)
    return announced


def duration(draw: Stream) -> int:
    """Nights that a storm blows."""
    size = draw.uniform()
    return 1 + (size >= _DURATION_STEPS[0]) + (size >= _DURATION_STEPS[1])


def _nights(seed: int, winter: int, config: Config) -> tuple[Night, ...]:
    days = config.days
    chances, blowing = _storms(seed, winter, days)
    draw = Stream(seed, winter, _LOW)
    calm_lows, anomaly = [], 0.0
    for day in range(days + LEADS + 1):
        anomaly = 0.75 * anomaly + 1.8 * draw.bell()
        calm_lows.append(mean_low_c(day, days) + anomaly)
    streams = Streams.of(seed, winter, (_MEASURE, _ROAD, _PEST, _FAULT, _FORECAST))
    return tuple(draw_nights(streams, Sky(range(days + 1), calm_lows, chances, blowing), config))


@dataclass(frozen=True, slots=True)
class Streams:
    """What is drawn each night: measurements, the road and the price, pests, faults, errors of forecasts."""

    measure: Stream
    road: Stream
    pest: Stream
    fault: Stream
    guess: Stream

    @classmethod
    def of(cls, seed: int, winter: int, purposes: tuple[int, int, int, int, int]) -> Streams:
        return cls(*(Stream(seed, winter, purpose) for purpose in purposes))


@dataclass(frozen=True, slots=True)
class Sky:
    """What is drawn before the nights: by day the lows without storms, the chances announced, and which night of a storm it is."""

    days: range
    calm_lows: Sequence[float] | Mapping[int, float]
    chances: Sequence[Sequence[float]] | Mapping[int, Sequence[float]]
    blowing: Sequence[int] | Mapping[int, int]


def draw_nights(
    streams: Streams, sky: Sky, config: Config, *, price_cents: int | None = None, forecast: Forecast | None = None
) -> Iterator[Night]:
    """The nights of a sky, in order. `price_cents` and `forecast`: of the first day, where they have been shown."""
    measure, road, guess, days = streams.measure, streams.road, streams.guess, config.days
    anomaly = 0.0 if price_cents is None else price_cents / 100.0 - 1.0 - 0.2 * season(sky.days[0], days)
    for day in sky.days:
        is_shown = price_cents is not None and day == sky.days[0]
        if not is_shown:
            anomaly = 0.93 * anomaly + 0.05 * road.bell()
        storm = sky.blowing[day]
        price_eur = 1.0 + 0.2 * season(day, days) + anomaly + (0.08 if storm else 0.0)
        announced = tuple(
            (round(sky.calm_lows[day + k] + (0.7 + 0.5 * k) * guess.bell()), round(100 * sky.chances[day + k][k]))
            for k in range(LEADS)
        )
        yield Night(
            low_c=sky.calm_lows[day] - (config.storm_chill_c if storm else 0.0),
            storm_night=storm,
            sun_c=config.sun_spread_c * measure.bell(),
            price_cents=price_cents if is_shown and price_cents is not None else round(100 * max(0.6, price_eur)),
            holdup=road.coin(config.holdup_probability),
            forecast=forecast if is_shown and forecast is not None else announced,
            noise=tuple(measure.bell() for _ in range(5)),
            aphids=tuple(_arrival(streams.pest) for _ in BEDS),
            faults=tuple(_fault(streams.fault, config.fault_probability) for _ in SENSORS),
        )


def _arrival(draw: Stream) -> float:
    flies, size = draw.coin(0.015), draw.uniform(0.5, 3.0)
    return size if flies else 0.0


def _fault(draw: Stream, probability: float) -> tuple[str, float] | None:
    if not draw.coin(probability):
        return None
    kind = FAULT_KINDS[draw.below(3)]
    sign = 1.0 if draw.coin(0.6) else -1.0  # reading too warm, the harmful side, is the more common one
    size = draw.uniform(0.12, 0.3) if kind == "drift" else draw.uniform(2.0, 4.5)
    return kind, sign * size
