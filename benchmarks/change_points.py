"""Measure find_change_points on generated series and on labelled open data: errors, delay, speed.

    python benchmarks/change_points.py [--streams 72] [--repeats 200] [--seed 1] [--data DIR]

DIR holds annotations.json and series/NAME.csv (columns index, value). Needs perfdb and numpy only.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from perfdb.analysis import find_change_points

KINDS = ("lognormal", "api", "autocorrelated")
MARGIN = 5  # a change within this many points of the truth is the same change
LENGTH = 300
STEPS = (("lognormal", 2.0), ("lognormal", 1.5), ("lognormal", 1.2), ("api", 2.0), ("api", 1.5))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=72, help="healthy series per kind, 281 sessions each")
    parser.add_argument("--repeats", type=int, default=200, help="stepped series per figure")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder with annotations.json and series/")
    args = parser.parse_args()
    report_speed()
    report_batch(10 * args.streams, args.seed)
    report_synthetic(args.repeats, args.seed)
    report_trends(args.repeats, args.seed)
    report_delays(args.repeats, args.seed)
    if args.data:
        report_open_data(args.data)
    report_online(args.streams, args.seed)


def indexes(values: Iterable[float], profile: str = "quiet") -> list[int]:
    return [change.index for change in find_change_points(np.fromiter(values, float), profile=profile)]


def healthy(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Durations in seconds of n sessions in which nothing changed."""
    if kind == "lognormal":  # 15 % coefficient of variation
        return 10 * rng.lognormal(0, 0.1492, n)
    if kind == "api":  # floor and skewed latency, 1.5 % of calls 5 to 10 times slower
        durations, share_slow = 1.5 + 3.5 * rng.lognormal(0, 0.5, n), 0.015
    else:  # load with lag-1 autocorrelation .4 and a daily wave, 1 % slow calls
        load = rng.normal(0, 1, n)
        for i in range(1, n):
            load[i] = 0.4 * load[i - 1] + math.sqrt(1 - 0.16) * load[i]
        durations = 5 * np.exp(0.3 * load + 0.1 * np.sin(np.arange(n) * 2 * np.pi / 24))
        share_slow = 0.01
    slow = rng.random(n) < share_slow
    durations[slow] *= rng.uniform(5, 10, slow.sum())
    return durations


def stepped(rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Return a series of any kind with 0 to 3 steps, none in two of five, and where they are."""
    n = int(rng.integers(130, 370))
    values = healthy(str(rng.choice(KINDS)), n, rng)
    steps: list[int] = []
    wanted = 0 if rng.random() < 0.4 else int(rng.integers(1, 4))
    for index in rng.integers(40, n - 30, 50).tolist():
        if len(steps) < wanted and all(abs(index - other) >= 30 for other in steps):
            steps.append(index)
            values[index:] *= rng.choice([0.5, 0.5, 0.625, 0.625, 0.74, 0.83, 1.2, 1.35, 1.6, 1.6, 2, 2])
    return values, sorted(steps)


def trending(rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Return a series that rises or falls all the time, and where its 0 to 3 breaks are.

    Two of five breaks jump; the noise has a lag-1 autocorrelation of up to .7, and three of ten series have
    a season of 12.
    """
    while True:
        n, breaks = int(rng.integers(20, 400)), int(rng.integers(0, 4))
        least = max(4, n // 8)
        cuts = sorted(rng.choice(np.arange(least, n - least), breaks, replace=False).tolist())
        if all(b - a >= n / 10 for a, b in pairwise([0, *cuts, n])):
            break
    values, level, noise = np.zeros(n), 0.0, rng.normal(0, 1, n)
    for a, b in pairwise([0, *cuts, n]):
        jump = rng.normal(0, 0.6) if rng.random() < 0.4 else 0.0
        values[a:b] = level + jump + rng.normal(0, 4 / n) * np.arange(b - a)
        level = values[b - 1]
    rho = rng.choice([0, 0.3, 0.7])
    for i in range(1, n):
        noise[i] = rho * noise[i - 1] + math.sqrt(1 - rho * rho) * noise[i]
    values += rng.choice([0.03, 0.1, 0.25]) * noise
    if rng.random() < 0.3:
        values += 0.3 * np.sin(np.arange(n) * 2 * np.pi / 12)
    return 10 + values - min(float(values.min()), 0), cuts


def report_speed() -> None:
    for n in (1_000, 10_000):
        values = stepped_up("lognormal", n, n // 2, 1.5, np.random.default_rng(0))
        best = min(seconds(values) for _ in range(5))
        print(f"speed            {n:6d} points                 {best:.4f} s (CPU)")
    one = seconds(values[:LENGTH])
    print(f"speed            5 series of {LENGTH} points           {5 * one:.4f} s (CPU)")


def seconds(values: np.ndarray) -> float:
    started = time.process_time()
    find_change_points(values)
    return time.process_time() - started


def stepped_up(kind: str, n: int, index: int, factor: float, rng: np.random.Generator) -> np.ndarray:
    values = healthy(kind, n, rng)
    values[index:] *= factor
    return values


def report_batch(streams: int, seed: int) -> None:
    for kind in KINDS:
        rng = np.random.default_rng([seed, 1])
        found = sum(len(indexes(healthy(kind, LENGTH, rng))) for _ in range(streams))
        print(f"batch            {kind:15} {rate(found, streams * LENGTH)} points")


def report_online(streams: int, seed: int) -> None:
    for kind in KINDS:
        rng = np.random.default_rng([seed, 2])
        alerts = sum(count_alerts(healthy(kind, LENGTH, rng)) for _ in range(streams))
        print(f"online           {kind:15} {rate(alerts, streams * (LENGTH - 19))} sessions", flush=True)


def rate(found: int, n: int) -> str:
    return f"{1000 * found / n:6.3f} per 1,000: {found} in {n:,} healthy"


def count_alerts(values: np.ndarray) -> int:
    """Ask again after every session from the 20th; a change within MARGIN of a known one is no new alert."""
    known: list[int] = []
    for n in range(20, values.size + 1):
        known += [index for index in indexes(values[:n]) if all(abs(index - k) > MARGIN for k in known)]
    return len(known)


def report_delays(repeats: int, seed: int) -> None:
    for kind, factor in STEPS:
        rng = np.random.default_rng([seed, 3])
        series = [stepped_up(kind, 160, 100, factor, rng) for _ in range(repeats)]
        alarm, placed = (np.array([delay(values, reach) for values in series]) for reach in (25, MARGIN))
        print(
            f"delay            {kind:10} {factor - 1:+4.0%}  median {np.median(alarm):4.1f} sessions,"
            f" found within 60: {np.mean(alarm <= 60):.1%};"
            f" placed within 5: median {np.median(placed):4.1f}, {np.mean(placed <= 60):.1%}",
            flush=True,
        )


def delay(values: np.ndarray, reach: int) -> float:
    """Return after how many points a change at index 100 is reported within ``reach`` of it."""
    for k in range(1, 61):
        if any(abs(index - 100) <= reach for index in indexes(values[: 100 + k])):
            return k
    return math.inf


def report_synthetic(repeats: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 4])
    series = [stepped(rng) for _ in range(repeats)]
    for profile in ("quiet", "sensitive"):
        scores = [f1([set(steps)], indexes(values, profile)) for values, steps in series]
        print(f"synthetic        {profile:15} F1 {np.mean(scores):.3f} ({repeats} series)")


def report_trends(repeats: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    scores = []
    for _ in range(repeats):
        values, breaks = trending(rng)
        found = indexes(values, "sensitive")
        scores.append((f1([set(breaks)], found), covering([set(breaks)], found, values.size)))
    score, cover = np.mean(scores, axis=0)
    print(f"trends           sensitive       F1 {score:.3f}  cover {cover:.3f} ({repeats} series)")


def report_open_data(folder: Path) -> None:
    annotated = json.loads((folder / "annotations.json").read_text())
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for name, about in annotated.items():
        if about["kind"] not in ("changepoints", "no_change"):
            continue
        with (folder / "series" / f"{name}.csv").open() as file:
            values = [float(row["value"]) for row in csv.DictReader(file)]
        truths = [set(steps) for steps in about["annotations"].values()]
        for profile in ("quiet", "sensitive"):
            found = indexes(values, profile)
            score = f1(truths, found), covering(truths, found, len(values))
            groups.setdefault((about["group"], profile), []).append(score)
    for (group, profile), scores in sorted(groups.items()):
        score, cover = np.mean(scores, axis=0)
        print(
            f"open data        {group:12} {profile:10} F1 {score:.3f}  cover {cover:.3f} (n = {len(scores)})"
        )


def f1(truths: list[set[int]], found: list[int]) -> float:
    """F1 of TCPDBench (van den Burg & Williams 2020): index 0 always counts, margin 5."""
    predicted = {0, *found}
    precision = matched(set().union({0}, *truths), predicted) / len(predicted)
    recall = float(np.mean([matched(truth | {0}, predicted) / len(truth | {0}) for truth in truths]))
    return 2 * precision * recall / (precision + recall)


def matched(truth: set[int], predicted: set[int]) -> int:
    left = sorted(predicted)
    for t in sorted(truth):
        near = [p for p in left if abs(p - t) <= MARGIN]
        if near:
            left.remove(min(near, key=lambda p: abs(p - t)))
    return len(predicted) - len(left)


def covering(truths: list[set[int]], found: list[int], n: int) -> float:
    """Return how well the found segments cover the annotated ones (weighted Jaccard, mean of annotators)."""
    predicted = segments(found, n)
    best = [[len(a) * max(jaccard(a, b) for b in predicted) for a in segments(t, n)] for t in truths]
    return float(np.mean([sum(covered) / n for covered in best]))


def segments(indexes: Iterable[int], n: int) -> list[range]:
    bounds = [0, *sorted({i for i in indexes if 0 < i < n}), n]
    return [range(a, b) for a, b in pairwise(bounds)]


def jaccard(a: range, b: range) -> float:
    common = max(0, min(a.stop, b.stop) - max(a.start, b.start))
    return common / (len(a) + len(b) - common)


if __name__ == "__main__":
    main()
