"""Read and write the results of `wmh-bench` as JSON files.

The JSON Schema is docs/results.schema.json; `python -m wmh_bench.results` prints it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from wmh_bench.accuracy import Accuracy
from wmh_bench.baseline.result import Baseline
from wmh_bench.latency.result import Latency
from wmh_bench.throughput import Throughput
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.schema import describe_validation_error

Result = Latency | Throughput | Accuracy | Baseline
_ADAPTER: TypeAdapter[Result] = TypeAdapter(Annotated[Result, Field(discriminator="kind")])


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a result."""
    return _ADAPTER.json_schema()


def read_result(path: Path) -> Result:
    """Read a result.

    Raises:
        InputError: the file cannot be read, or does not follow the schema.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        problem = f"cannot be read ({reason_of(error)})"
        raise InputError(problem, "Give results of wmh-bench.", about=path) from error
    except ValidationError as error:
        problem = f"is not a result of wmh-bench: {describe_validation_error(error)}"
        advice = "Give results of wmh-bench latency, throughput, accuracy or baseline."
        raise InputError(problem, advice, about=path) from error


def write_result(path: Path, result: Result) -> None:
    """Write a result. The file is never written in part."""
    write_text_atomically(path, result.model_dump_json(indent=1) + "\n")


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))  # noqa: T201
