"""A shard: the part of the scans that one of several runs segments."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from wmh_runtime.errors import InputError

ARRAY = "array"  # the shard is the task of a job array of Slurm

_Item = TypeVar("_Item")
_ADVICE = f"Give one such as 3/16, or {ARRAY} in a task of a job array of Slurm."
_REGULAR = "Give each task its shard, such as 3/16."
_TASK = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Shard:
    """The part of the scans that one of several runs segments.

    All runs have to see the same scans. Each scan is then in exactly one shard, and shards differ
    by one scan at most.
    """

    number: int  # 1 to count
    count: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Self:
        """Read a shard.

        Args:
            text: `3/16`: the third of sixteen; or `array`: the task of this job of Slurm.
            environment: of the process.

        Raises:
            InputError: it is none, or there is no job array.
        """
        if text == ARRAY:
            return cls._of_array(environment)
        match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"got {text}, expected a part such as 3/16", _ADVICE, about="shard")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def _of_array(cls, environment: Mapping[str, str]) -> Self:
        """Return the task of this job array; the numbers of the tasks have to be regular."""
        try:
            task, count, first, last = (
                int(environment[f"{_TASK}{name}"]) for name in ("ID", "COUNT", "MIN", "MAX")
            )
        except (KeyError, ValueError) as error:
            problem = f"is {ARRAY}, but this is no task of a job array: {_TASK}ID is not set"
            raise InputError(problem, _ADVICE, about="shard") from error
        step = (last - first) // max(count - 1, 1)
        if first + step * (count - 1) != last or (task - first) % max(step, 1):
            problem = f"is {ARRAY}, but the numbers of the tasks are not regular"
            raise InputError(problem, _REGULAR, about="shard")
        return cls((task - first) // max(step, 1) + 1, count)

    def __str__(self) -> str:
        """Return it as it is given."""
        return f"{self.number}/{self.count}"

    def of(self, items: Sequence[_Item], group_of: Callable[[_Item], object]) -> list[_Item]:
        """Return the items of this shard, in their order.

        Args:
            items: all of them, in an order that all runs agree on.
            group_of: items with the same value stay together.
        """
        groups: dict[object, int] = {}
        return [
            item
            for item in items
            if groups.setdefault(group_of(item), len(groups)) % self.count == self.number - 1
        ]
