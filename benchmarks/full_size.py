"""`sparks solve` at full size, on folders of random weights: killed, gone on with, transferred.

    python benchmarks/full_size.py --size ltx-2.3 --places /tmp/full-size /dev/shm/full-size
    python benchmarks/full_size.py --size tiny

Writes an editor and a critic in the published format and sizes, text encoder included, the trunk of
LPIPS and two clips; then edits one clip by the command of the README, kills it at a random
evaluation, goes on with it by `--resume`, and transfers the result to the other clip. Prints the
seconds of every phase and the memory that was taken. What is needed of disk and memory is said, and
refused where it is not there, before anything is written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from models import SIZES, Size, build, clip, critic_parts

from sparks.media.clip import write_clip
from sparks.models.machine import device_name, free_memory
from sparks.models.published import Component
from sparks.models.quiet import quiet_libraries
from sparks.settings.layers import layers

GIB = 2**30
SHARD = "5GB"
SPARE = 2 * GIB  # of every disk, for videos, compilers' caches and what else is written
PROMPT, OTHER_PROMPT = "a red ball jumps", "a blue ball jumps"
TEXT_LENGTH = 1024  # of LTX-2
LARGE = ("transformer", "text_encoder", "critic")  # are written first
STILL = ("memory of", "  ", "rendering: ")  # of what is going on already
LINE = re.compile(r" *(?P<seconds>\d+\.\d)s  (?P<text>.*)")


# What is needed


def parts(size: Size) -> dict[str, Component]:
    """Every network that is written."""
    return {**size.components, "critic": size.critic}


def bytes_of(component: Component, itemsize: int) -> int:
    """Of its weights on disk."""
    count = component.parameters
    if not count:
        network = component.build("meta", torch.float32)
        count = sum(weight.numel() for weight in network.state_dict().values())
    return count * itemsize


def placed(needs: Mapping[str, int], places: Sequence[Path]) -> dict[str, Path]:
    """Where each part is written: the largest first, each to the first place that holds it.

    Raises:
        SystemExit: they do not all fit; says what is needed and what there is.
    """
    free = {place: disk_free(place) - SPARE for place in places}
    found = {}
    for name, size in sorted(needs.items(), key=lambda each: -each[1]):
        fitting = [place for place in places if free[place] >= size]
        if not fitting:
            there = ", ".join(f"{place}: {disk_free(place) / GIB:.0f} GiB" for place in places)
            raise SystemExit(
                f"{sum(needs.values()) / GIB:.1f} GiB of disk are needed, the largest part "
                f"{max(needs.values()) / GIB:.1f}; free: {there}. Name other --places"
            )
        found[name] = fitting[0]
        free[fitting[0]] -= size
    return found


def disk_free(place: Path) -> int:
    """Bytes that can be written below a folder that may not exist yet."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def check_memory(needs: Mapping[str, int], device: torch.device) -> None:
    """See that the machine can hold the largest network while it is written, and run the rest.

    Raises:
        SystemExit: it cannot.
    """
    encoding = needs["text_encoder"] + needs["connectors"]
    search = needs["transformer"] + needs["vae"] + needs["critic"]
    needed, free = int(1.1 * max(encoding, search)), free_memory(device)
    print(
        f"{sum(needs.values()) / GIB:.1f} GiB of disk and {needed / GIB:.1f} GiB of memory on "
        f"{device_name(device)} are needed; {free / GIB:.1f} GiB of memory are free",
        flush=True,
    )
    if needed > free:
        raise SystemExit("that is too little memory; nothing was written")


# Folders in the published format


def write_models(size: Size, places: Mapping[str, Path], device: torch.device) -> Path:
    """The editor's folder; the critic's stands in it."""
    root = places["transformer"] / "editor"
    root.mkdir(parents=True, exist_ok=True)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32

    making = threading.Lock()  # what is made is seeded, of a type and on a device for all threads

    def write(name: str) -> None:
        folder = places[name] / "editor" / name
        folder.mkdir(parents=True, exist_ok=True)
        if not (root / name).exists():
            (root / name).symlink_to(folder)
        with making:
            if name == "critic":
                network, tokenizer = critic_parts(size, device, dtype)
                tokenizer.save_pretrained(folder)
            else:
                network = build(size.components[name], name, device, dtype)
        network.save_pretrained(folder, max_shard_size=SHARD)

    small = [name for name in parts(size) if name not in LARGE]
    with ThreadPoolExecutor(2) as pool:  # two, since both must be in memory
        list(pool.map(write, (*LARGE, *small)))
    tokenizer().save_pretrained(root / "tokenizer")
    index: dict[str, Any] = {
        name: [(each.module.rpartition(".")[0] and "ltx2") or each.module, each.name]
        for name, each in size.components.items()
    }
    index["tokenizer"] = ["transformers", "PreTrainedTokenizerFast"]
    index["_class_name"] = "LTX2Pipeline"
    (root / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return root


def tokenizer() -> Any:
    """Knows the words of the prompts, the preset's among them, and pads to the published length."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    prompts = (PROMPT, OTHER_PROMPT, layers(["paper"], {}, [])["negative_prompt"])
    words = ["<pad>", "<eos>", "<unk>", *" ".join(prompts).lower().split()]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(dict.fromkeys(words))}, "<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, padding_side="left", model_max_length=TEXT_LENGTH, **special
    )


def write_trunk(home: Path) -> None:
    """A random AlexNet where LPIPS looks for the published one."""
    from torchvision.models import alexnet

    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(alexnet(weights=None).state_dict(), folder / "alexnet-owt-7be5be79.pth")


# Running


@dataclass
class Phase:
    """What a command went through.

    Attributes:
        name: what it was.
        seconds: from its start to its end.
        stages: seconds of each thing that it said it was doing.
        evaluations: seconds between one evaluation and the next.
        memory: most of the device's memory that was taken, as its driver counts, in bytes.
    """

    name: str
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    evaluations: list[float] = field(default_factory=list)
    memory: int = 0


class Watch:
    """The most memory of a device that is taken while this runs."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.most, self._over = device, 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        if self.device.type == "cuda":
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.5):
            free, whole = torch.cuda.mem_get_info(self.device)
            self.most = max(self.most, whole - free)


def run(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    device: torch.device,
    *,
    kill_after: int | None = None,
) -> Phase:
    """`sparks` with these arguments; killed after so many evaluations if that is said.

    Raises:
        SystemExit: it failed.
    """
    print(f"$ sparks {shlex.join(arguments)}", flush=True)
    start, phase, lines = time.perf_counter(), Phase(name), []
    process = subprocess.Popen(
        [sys.executable, "-m", "sparks.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    with Watch(device) as watch:
        for line in process.stdout:
            print(f"  {line.rstrip()}", flush=True)
            lines.append((time.perf_counter() - start, line))
            if kill_after is not None and f"evaluation {kill_after}/" in line:
                process.send_signal(signal.SIGKILL)
        code = process.wait()
    phase.seconds, phase.memory = time.perf_counter() - start, watch.most
    if code != (0 if kill_after is None else -signal.SIGKILL):
        raise SystemExit(f"sparks ended with {code}")
    _read(phase, lines)
    return phase


def _read(phase: Phase, lines: Sequence[tuple[float, str]]) -> None:
    """Stages last until the next one begins; so do evaluations."""
    told = [(at, match["text"]) for at, line in lines if (match := LINE.match(line))]
    told = [(at, text) for at, text in told if not text.startswith(STILL)]
    ends = [at for at, _ in told[1:]] + [phase.seconds]
    phase.stages["start of the program"] = told[0][0] if told else phase.seconds
    before = None
    for (at, text), end in zip(told, ends, strict=True):
        if re.match(r"evaluation \d+/", text):
            if before is not None:
                phase.evaluations.append(at - before)
            before = at
        else:
            name = "searching" if text.startswith("searching") else text
            phase.stages[name] = phase.stages.get(name, 0.0) + end - at


# The whole of it


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Write, edit, kill, go on, transfer; everything that was measured."""
    size, device = SIZES[options.size], torch.device(options.device)
    itemsize = 2 if device.type == "cuda" else 4
    needs = {name: bytes_of(each, itemsize) for name, each in parts(size).items()}
    places = placed(needs, options.places)
    check_memory(needs, device)
    phases = []
    with _timed("writing the folders", phases), redirect_stdout(sys.stderr), quiet_libraries():
        root = write_models(size, places, device)
        write_trunk(root / "torch")
        for number, name in enumerate(("clip", "other")):
            write_clip(root / f"{name}.mp4", _clip(size, number))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    kill = random.Random(options.seed).randint(2, max(2, options.evaluations - 2))
    environment = {"TORCH_HOME": str(root / "torch"), "HF_HUB_OFFLINE": "1"}
    finished, other = root / "run", root / "transfer"
    common = [*_model(root), *(each for pair in options.set for each in ("--set", pair))]
    first = [*("solve", str(root / "clip.mp4"), "--prompt", PROMPT), *common, *_small(size)]
    first += [*("--budget", f"renders={options.evaluations}"), "--output", str(finished), "--json"]
    phases.append(run("edit, killed", first, environment, device, kill_after=kill))
    again = ["solve", "--resume", str(finished), "--json"]
    phases.append(run("going on", again, environment, device))
    moved = ["transfer", str(finished), "--video", str(root / "other.mp4"), "--prompt"]
    moved += [OTHER_PROMPT, "--output", str(other), "--json"]
    phases.append(run("transfer", moved, environment, device))
    rows = (finished / "history.jsonl").read_text(encoding="utf-8").splitlines()
    result = json.loads((finished / "result.json").read_text(encoding="utf-8"))
    about = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    return {
        "size": options.size,
        "device": device_name(device),
        "torch": torch.__version__,
        "disk_bytes": sum(needs.values()),
        "killed_after": kill,
        "evaluations": len(rows),
        "losses": [json.loads(row)["total"] for row in rows],
        "levers": about.get("levers"),
        "memory": result.get("memory"),
        "phases": [vars(phase) for phase in phases],
    }


@contextmanager
def _timed(name: str, phases: list[Phase]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    phases.append(Phase(name, time.perf_counter() - start))


def _model(root: Path) -> list[str]:
    return ["--model", str(root), "--critic", str(root / "critic"), "--config", "paper"]


def _small(size: Size) -> list[str]:
    """Settings of a size other than the paper's."""
    published = SIZES["ltx-2.3"]
    if size is published:
        return []
    sampling = size.sampling
    chosen = {
        "clip.size": [size.height, size.width],
        "clip.num_frames": size.frames,
        "critic.size": list(size.critic_size),
        "objective.size": list(size.perceptual_size),
        "sampling.num_inference_steps": sampling.num_inference_steps,
        "sampling.grad_steps": sampling.grad_steps,
        "guidance.final.stg_blocks": [1],
    }
    return [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]


def _clip(size: Size, number: int) -> Any:
    made = clip(size)
    return replace(made, frames=made.frames.flip(-1)) if number else made


def table(result: Mapping[str, Any]) -> str:
    """Phases and what they took, as Markdown."""
    lines = [
        f"{result['size']} on {result['device']}, torch {result['torch']}; "
        f"{result['disk_bytes'] / GIB:.1f} GiB of weights; killed after evaluation "
        f"{result['killed_after']} of {result['evaluations']}",
        "",
        "| phase | s | GiB as the driver counts |",
        "| --- | ---: | ---: |",
    ]
    for phase in result["phases"]:
        memory = f"{phase['memory'] / GIB:.1f}" if phase["memory"] else ""
        lines.append(f"| **{phase['name']}** | {phase['seconds']:.1f} | {memory} |")
        lines += [f"| {name} | {taken:.1f} | |" for name, taken in phase["stages"].items()]
        if phase["evaluations"]:
            times = sorted(phase["evaluations"])
            lines.append(
                f"| an evaluation, median of {len(times)} | {times[len(times) // 2]:.2f} | |"
            )
    if result["memory"]:
        lines.append(f"\npeak as torch counts: {result['memory']['measured'] / GIB:.1f} GiB")
    if result["levers"]:
        lines.append(f"\nlevers: {json.dumps(result['levers'])}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and remove what it wrote."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--places", nargs="+", type=Path, help="folders to write to, in order")
    parser.add_argument("--device", default=default, help="where the weights are made")
    parser.add_argument("--evaluations", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moment it is killed")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="more")
    parser.add_argument("--keep", action="store_true", help="leave the folders where they are")
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    options = parser.parse_args(arguments)
    own = options.places is None
    places = [tempfile.mkdtemp()] if own else options.places
    options.places = [Path(each).absolute() for each in places]
    try:
        result = measure(options)
    finally:
        for place in options.places if not options.keep else ():
            shutil.rmtree(place if own else place / "editor", ignore_errors=True)
    print(json.dumps(result) if options.json else table(result))


if __name__ == "__main__":
    main()
