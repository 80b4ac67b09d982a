"""Batches of candidates at full size, and what happens where memory ends, with random weights.

    python benchmarks/short_of_memory.py --size ltx-2.3 --batches 1 2 4

Times candidates without gradient alone and in batches, with the memory that each takes. Then, on a
GPU, leaves this process less than the largest batch needs: the batch has to be finished in halves,
with the same losses; then less than a gradient needs: that has to end in one line, and everything
has to work again afterwards.
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import torch
from flops import synchronise
from iteration import Session, held_memory, say
from models import SIZES
from torch import Tensor

from sparks.editors.levers import LTX2Levers
from sparks.models.machine import device_name
from sparks.models.memory import OutOfMemory, peak_memory, release_memory

STEP = 1e-3  # of random candidates, root mean square


def candidates(session: Session, count: int) -> Tensor:
    """Places `[count, k]` near the start, the same ones every time."""
    generator = torch.Generator(session.device).manual_seed(0)
    shape = (count, session.problem.dim)
    return STEP * torch.randn(shape, generator=generator, device=session.device)


def batch(session: Session, count: int) -> dict[str, Any]:
    """Seconds of each of `count` candidates rendered together, after a warm-up; losses; memory."""
    z = candidates(session, count)
    session.problem.evaluate(z)
    if session.device.type == "cuda":
        release_memory()
        torch.cuda.reset_peak_memory_stats(session.device)
    start = time.perf_counter()
    evaluations = session.problem.evaluate(z)
    synchronise(session.device)
    result = {
        "batch": count,
        "seconds": (time.perf_counter() - start) / count,
        "peak_bytes": peak_memory(session.device),
        "reserved_bytes": reserved_memory(session.device),
        "totals": [evaluation.total for evaluation in evaluations],
    }
    say(json.dumps(result))
    return result


def reserved_memory(device: torch.device) -> int:
    """Most bytes that torch took from the GPU, graphs' own among them; 0 elsewhere."""
    return int(torch.cuda.max_memory_reserved(device)) if device.type == "cuda" else 0


def leave(session: Session, size: float) -> None:
    """Let this process have so many bytes of the card, and no more."""
    release_memory()
    whole = torch.cuda.get_device_properties(session.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / whole))  # of this device


def in_halves(session: Session, largest: dict[str, Any], alone: dict[str, Any]) -> dict[str, Any]:
    """The largest batch where only a third of what it needs over a single one is there."""
    session.set_levers(LTX2Levers())  # without the memory of graphs
    needed, least = largest["reserved_bytes"], alone["reserved_bytes"]
    leave(session, least + (needed - least) / 3)
    evaluations = session.problem.evaluate(candidates(session, largest["batch"]))
    totals = [evaluation.total for evaluation in evaluations]
    apart = max(abs(a - b) for a, b in zip(totals, largest["totals"], strict=True))
    return {"batch": largest["batch"], "largest_difference": apart, "totals": totals}


def no_gradient(session: Session) -> dict[str, Any]:
    """A gradient in what the process holds and one GiB more; then one with all of the card."""
    zero = candidates(session, 1) * 0
    leave(session, held_memory(session.device) + 2**30)
    try:
        session.problem.evaluate(zero, gradient=True)
        ended = "it fitted"
    except OutOfMemory as error:
        ended = str(error)
    leave(session, float("inf"))
    again = session.problem.evaluate(zero, gradient=True)[0]
    return {"ended": ended, "total_afterwards": again.total}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    size, device = SIZES[options.size], torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    session = Session(size, device, dtype, text_encoder=False, storage=options.storage)
    session.set_levers(LTX2Levers())
    batches = [batch(session, count) for count in options.batches]
    result: dict[str, Any] = {
        "size": options.size,
        "device": device_name(device),
        "torch": torch.__version__,
        "storage": options.storage,
        "batches": batches,
    }
    if device.type == "cuda":
        result["in_halves"] = in_halves(session, batches[-1], batches[0])
        result["no_gradient"] = no_gradient(session)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--device", default=default)
    parser.add_argument("--storage", choices=("resident", "fp8", "offload"), default="resident")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4])
    print(json.dumps(measure(parser.parse_args(arguments))))


if __name__ == "__main__":
    main()
