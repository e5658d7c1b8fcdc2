"""Kill parts of every engine at random moments until enough was killed; nothing may be lost."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.dev.clusters.engines import Engine
from benchmarks.dev.clusters.same_results import content_of
from wmh_runtime.files.temporary import is_temporary
from wmh_runtime.outputs.paths import CLAIMS_FOLDER
from wmh_runtime.schema import StrictModel

_KILLS_OF_A_ROUND = 5
_LONGEST_PAUSE_S = 3.0


class Kills(StrictModel):
    """What was killed of an engine, and what was wrong afterwards."""

    engine: str
    rounds: int
    killed: dict[str, int]
    faults: list[str]


def kill_at_random(
    engine: Engine,
    arguments: list[str],
    whole: Path,
    out: Path,
    count: int,
    *,
    seed: int = 0,
    on_round: Callable[[str], None] = lambda _: None,
) -> Kills:
    """Segment a folder again and again, and kill parts of the engine meanwhile.

    Args:
        engine: open.
        arguments: of `wmh-infer`; the second one is the output folder.
        whole: results of a run that was not disturbed.
        out: output folder; removed after each round.
        count: of kills.
        seed: another seed gives other moments.
        on_round: called with what was killed in each round.
    """
    killed, faults, rounds = Counter[str](), list[str](), 0
    moments = random.Random(seed)
    while killed.total() < count:
        engine.begin(arguments)
        for _ in range(min(_KILLS_OF_A_ROUND, count - killed.total())):
            time.sleep(moments.uniform(0, _LONGEST_PAUSE_S))
            killed[engine.disturb(moments)] += 1
        engine.finish()
        rounds += 1
        faults += [f"round {rounds}: {fault}" for fault in faults_of(out, whole)]
        on_round(f"{engine.name}: {killed.total()} of {count} kills, {len(faults)} faults")
        shutil.rmtree(out)
    return Kills(engine=engine.name, rounds=rounds, killed=dict(killed), faults=faults)


def faults_of(out: Path, whole: Path) -> list[str]:
    """Say what differs from the results of a run that was not disturbed, and what was left."""
    found, wanted = content_of(out), content_of(whole)
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    faults += [f"{name} is too many" for name in sorted(found.keys() - wanted.keys())]
    faults += [
        f"{name} differs"
        for name in sorted(wanted.keys() & found.keys())
        if found[name] != wanted[name]
    ]
    left = [path for path in out.rglob("*") if is_temporary(path)]
    left += (out / CLAIMS_FOLDER).glob("*")
    return [*faults, *(f"{path.relative_to(out)} was left" for path in left)]
