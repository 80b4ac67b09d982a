"""Every setting with values that nobody should give: refused in a line or taken, no traceback.

    python benchmarks/hostile.py              # all settings times all values
    python benchmarks/hostile.py --edits      # and a short edit for what was taken

Prints what went wrong, and exits with 1 if anything did.
"""

import argparse
import json
import random
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sparks.errors import SparksError
from sparks.runs.edit import edit
from sparks.runs.resolve import check_settings
from sparks.settings.layers import merge
from sparks.settings.schema import Config

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**63, 10**400, 1e308, -1e-308),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "x" * 100_000, "\x1b[2J\x00", "\udce9"),
    *("../../etc/passwd", "os:system", [], [0, 0], [-1], {}, {"name": "x"}, {"a": {"b": [None]}}),
]
MORE = ("editor.levers", "solver.lr", "solver.betas", "solver.patience", "solver.sigma")
MORE += ("space.mode", "space.rank", "critic.size", "critic.question", "critic.answers")
QUICK = {"sampling": {"num_inference_steps": 2, "grad_steps": 1}, "budget": "qwen_calls=2"}
LONGEST = 2000


def settings(value: Any = None, before: str = "") -> Iterator[str]:
    """Keys of all sections and leaves."""
    value = Config() if value is None else value
    if isinstance(value, BaseModel):
        inner = {name: getattr(value, name) for name in type(value).model_fields}
    elif is_dataclass(value) and not isinstance(value, type):
        inner = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        return
    for name, each in inner.items():
        yield f"{before}{name}"
        if each is not None:
            yield from settings(each, f"{before}{name}.")


def given(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def fault(key: str, value: Any, edits: bool = False) -> str | None:
    """What is wrong with how a value is taken, None if nothing is."""
    try:
        asked = merge(QUICK, given(key, value))
        config = check_settings(asked)
        json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=True))
        if edits:
            with tempfile.TemporaryDirectory() as folder:
                result = edit(asked, Path(folder, "run"), pictures=False)
                json.dumps(result.json(), allow_nan=False)
    except SparksError as error:
        return None if len(str(error)) < LONGEST else f"a message of {len(str(error))} characters"
    except Exception:
        return traceback.format_exc().strip().splitlines()[-1]
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", action="store_true")
    parser.add_argument("--sample", type=int, help="so many of them, drawn")
    options = parser.parse_args()
    pairs = [(key, value) for key in [*settings(), *MORE] for value in VALUES]
    if options.sample:
        pairs = random.Random(0).sample(pairs, options.sample)
    faults = [(k, v, why) for k, v in pairs if (why := fault(k, v, options.edits))]
    for key, value, why in faults:
        print(f"{key}={repr(value)[:60]}: {why[:200]}")
    print(f"{len(pairs)} tried, {len(faults)} bad")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
