"""What a tuning iteration costs, with random weights of any size and every lever switchable.

    python benchmarks/iteration.py --size small --compare naive --json
    python benchmarks/iteration.py --size ltx-2.3 --lever compile=true --lever channels_last=true

An iteration is one evaluation with gradient and one Adam step, through the same editor, problem,
critic and objective as `sparks solve`. `--size ltx-2.3` has the real configurations of LTX-2.3 22B
and Qwen2.5-VL-7B at 512x320, 89 frames, 30 steps of which the last 8 carry gradient, and 8 critic
frames at 224 px. Nothing is fetched. See `benchmarks/naive.py` for what `--compare naive` pays.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flops import count, matrix_rate, synchronise
from models import SIZES, RandomModel, Size, clip, critic_parts, save
from naive import COSTS, DEFAULT, paying
from stages import STAGES, Stopwatch
from torch import Tensor

from sparks.critics.qwen import QwenCritic
from sparks.editors.decoding import prepare_decoder
from sparks.editors.footprint import STORAGES
from sparks.editors.levers import LTX2Levers
from sparks.editors.ltx2 import LTX2Editor
from sparks.editors.ltx2_runner import LTX2Runner
from sparks.models.machine import device_name
from sparks.models.memory import peak_memory
from sparks.models.quiet import quiet_libraries
from sparks.search.evaluation import Watch
from sparks.search.objective import Objective, Weights
from sparks.search.problem import EditProblem
from sparks.solvers.adam import Adam
from sparks.spaces.base import FullSpace

PROMPT = "a red ball jumps"
LEARNING_RATE = 5e-3  # the paper's


class Session:
    """One editor, critic and problem, whose levers can be changed between iterations."""

    def __init__(
        self,
        size: Size,
        device: torch.device,
        dtype: torch.dtype,
        *,
        lpips: bool = True,
        text_encoder: bool = True,
        storage: str = "resident",
        files: Path | None = None,
    ) -> None:
        self.size, self.device, self.dtype, self.files = size, device, dtype, files
        self.setup_seconds: dict[str, float] = {}
        self.notes: list[str] = []
        source = RandomModel(size, made_on=device)
        if files is not None:
            save(source, files)
        with self._taking("build the codecs"):
            self.editor = LTX2Editor(source, device, dtype, storage=storage)
        if not text_encoder:
            self._invent_contexts()
        with self._taking("encode"):
            conditioning = self.editor.prepare(clip(size), PROMPT, prefix_frames=5, seed=0)
        self.encode_peak = peak_memory(device)
        self.editor.free_text_encoder()
        with self._taking("build the denoiser"):
            _ = self.editor.transformer
        with self._taking("build the critic"):
            critic = QwenCritic(
                critic_parts(size, device, dtype), device=device, size=size.critic_size, fps=25
            )
        self.critic = critic
        start = self.editor.start(conditioning)
        distance = self._distance() if lpips else None
        weights = Weights() if distance is not None else Weights(lpips=0, temporal=0)
        self.problem = EditProblem(
            self.editor,
            conditioning,
            critic,
            FullSpace(start),
            Objective(weights, start, distance=distance, size=size.perceptual_size),
            sampling=size.sampling,
            watch=Watch(num_frames=8),
        )
        self.solver = Adam(lr=LEARNING_RATE)
        with self._taking("baseline render"):
            if self.problem.objective.needs_reference:
                _ = self.problem.baseline

    def load(self, name: str) -> Any:
        """Component `name` anew: from files where there are some, else made on the device."""
        if self.files is None:
            return RandomModel(self.size).load_frozen(name, self.device, self.dtype)
        kind = type(self.editor.source.size.components[name].build("meta", self.dtype))
        network = kind.from_pretrained(self.files / name, torch_dtype=self.dtype)
        return network.to(self.device).eval().requires_grad_(False)

    def set_levers(self, levers: LTX2Levers) -> None:
        """Run denoiser and decoder by these levers from now on."""
        editor = self.editor
        torch._dynamo.reset()
        editor.vae.decoder._compiled_call_impl = None
        if editor.levers.channels_last:
            editor.vae.decoder.to(memory_format=torch.contiguous_format)
        editor.levers = editor.codec.levers = levers
        editor.runner = None  # with the memory of its graphs
        editor.runner = LTX2Runner(editor.transformer, levers)
        editor.settle(self.problem.conditioning, self.size.sampling)
        prepare_decoder(editor.vae, levers)

    def gradient(self) -> Tensor:
        """Of the loss at the start."""
        z = torch.zeros(1, self.problem.dim, device=self.device)
        gradient = self.problem.evaluate(z, gradient=True)[0].gradient
        assert gradient is not None
        return gradient

    def iterate(self, iterations: int) -> tuple[list[float], list[int]]:
        """Seconds of each iteration, and bytes held after it."""
        self.solver.setup(self.problem, np.random.default_rng(0))
        seconds, held = [], []
        for _ in range(iterations):
            start = time.perf_counter()
            evaluations = self.problem.evaluate(self.solver.ask(), gradient=True)
            self.solver.tell(evaluations, 0.0)
            synchronise(self.device)
            seconds.append(time.perf_counter() - start)
            held.append(held_memory(self.device))
        return seconds, held

    @contextmanager
    def _taking(self, what: str) -> Iterator[None]:
        watch = Stopwatch(self.device)
        with watch.timing(what):
            yield
        self.setup_seconds[what] = watch.seconds[what]
        say(f"{what}: {watch.seconds[what]:.1f} s")

    def _invent_contexts(self) -> None:
        """Random contexts in place of the text encoder's, to leave it out."""
        self.notes.append("text contexts are random: the text encoder was left out")
        config = self.size.components["transformer"].config
        widths = (config["cross_attention_dim"], config["audio_cross_attention_dim"])
        for prompt in (PROMPT, ""):
            video, audio = (
                torch.randn(1, self.size.text_length, w, device=self.device, dtype=self.dtype)
                for w in widths
            )
            self.editor.texts._known[prompt] = (video, audio)

    def _distance(self) -> Any:
        try:
            import lpips

            made = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
        except ImportError as error:
            self.notes.append(f"no LPIPS terms: {error}")
            say(self.notes[-1])
            return None
        return made.to(self.device).eval().requires_grad_(False)


def held_memory(device: torch.device) -> int:
    """Bytes held now: on the GPU, or by this process."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def driver_memory(device: torch.device) -> int:
    """Bytes of the GPU that are taken now, as its driver counts; 0 elsewhere."""
    if device.type != "cuda":
        return 0
    free, whole = torch.cuda.mem_get_info(device)
    return int(whole - free)


def measure(session: Session, name: str, iterations: int) -> dict[str, Any]:
    """Seconds, stages, peak memory and gradient of an iteration as the session is set now."""
    if session.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(session.device)
    start = time.perf_counter()
    gradient = session.gradient()  # warms up
    first = time.perf_counter() - start
    seconds, held = session.iterate(iterations)
    watch = Stopwatch(session.device)
    with watch.watching():
        staged = session.iterate(1)[0][0]
    stages = {stage: watch.seconds[stage] for stage in STAGES if watch.seconds[stage]}
    stages["rest"] = staged - sum(stages.values())
    result = {
        "name": name,
        "seconds": float(np.median(seconds)),
        "all_seconds": seconds,
        "first_seconds": first,
        "stages": stages,
        "peak_bytes": peak_memory(session.device),
        "driver_bytes": driver_memory(session.device),
        "levers": asdict(session.editor.levers),
        "repeat_cosine": cosine(gradient, session.gradient()),
        "held_bytes": held,
    }
    say(f"{name}: {json.dumps(result)}")
    return result | {"gradient": gradient}


def cosine(one: Tensor, other: Tensor) -> float:
    """Of the angle between two gradients."""
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))


def _against_file(gradient: Tensor, file: Path) -> float | None:
    """The angle with the gradient in a file; None where there is none yet: it is written."""
    if file.exists():
        return cosine(gradient, torch.load(file, map_location=gradient.device))
    torch.save(gradient, file)
    return None


def say(text: str) -> None:
    """Tell about progress, so that a run that is cut off has not been for nothing."""
    print(text, file=sys.stderr, flush=True)


def read_levers(pairs: Sequence[str], base: LTX2Levers) -> LTX2Levers:
    """`base` with the levers given as `name=value`, the value in JSON or a bare word."""
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in {field.name for field in fields(LTX2Levers)}:
            raise SystemExit(f"no lever {name!r}; choose {', '.join(asdict(LTX2Levers()))}")
        try:
            changes[name] = json.loads(text)
        except json.JSONDecodeError:
            changes[name] = text
    return replace(base, **changes)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the options ask for."""
    device = torch.device(options.device)
    dtype = getattr(torch, options.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    size = SIZES[options.size]
    if options.steps or options.grad_steps:
        size = replace(
            size,
            sampling=replace(
                size.sampling,
                num_inference_steps=options.steps or size.sampling.num_inference_steps,
                grad_steps=options.grad_steps or size.sampling.grad_steps,
            ),
        )
    fast = read_levers(options.lever, LTX2Levers())
    result: dict[str, Any] = {
        "size": options.size,
        "device": device_name(device),
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "levers": asdict(fast),
        "storage": options.storage,
    }
    with tempfile.TemporaryDirectory() as scratch:
        from_files = options.compare and options.size != "ltx-2.3"
        session = Session(
            size,
            device,
            dtype,
            lpips=options.lpips,
            text_encoder=options.text_encoder,
            storage=options.storage,
            files=Path(scratch) if from_files else None,
        )
        result |= {"setup_seconds": session.setup_seconds, "encode_peak_bytes": session.encode_peak}
        result["parameters"] = {
            name: sum(p.numel() for p in network.parameters())
            for name, network in (
                ("transformer", session.editor.transformer),
                ("decoder", session.editor.vae.decoder),
                ("critic", session.critic.model),
            )
        }
        result["notes"] = session.notes
        result["flops"] = count(size, session.critic)
        result["matrix_rate"] = matrix_rate(device, dtype)
        say(json.dumps(result))
        session.set_levers(fast)
        measured = measure(session, "fast", options.iterations)
        result |= {f"fast_{key}": measured[key] for key in ("seconds", "first_seconds", "stages")}
        result |= {
            key: measured[key]
            for key in ("peak_bytes", "driver_bytes", "held_bytes", "all_seconds", "repeat_cosine")
        }
        result["levers"] = measured["levers"]
        result["share_of_matrix_rate"] = (
            sum(result["flops"].values()) / measured["seconds"] / result["matrix_rate"]
        )
        reference = measured["gradient"]
        result["gradient_norm"] = float(reference.norm())
        if options.gradient is not None:
            result["gradient_cosine_to_file"] = _against_file(reference, options.gradient)
        result["variants"] = [
            _variant(session, reference, text, fast, options) for text in options.also
        ]
        if options.approximations:
            result["approximations"] = _approximate(session, reference, fast)
        if options.each:
            result["each_cost"] = [
                _each(session, reference, name, fast, options) for name in _costs(options)
            ]
        if options.compare:
            result |= _compare(session, reference, fast, options)
            result["ratio"] = result["naive_seconds"] / result["fast_seconds"]
    return result


def _variant(
    session: Session, reference: Tensor, text: str, fast: LTX2Levers, options: argparse.Namespace
) -> Any:
    """Another set of levers: its time, and the angle of its gradient with the first set's."""
    try:
        session.set_levers(read_levers(text.split(","), fast))
        return _against(reference, measure(session, text, options.iterations))
    except Exception as error:  # one that does not run here must not cost the others
        say(f"{text}: {type(error).__name__}: {error}")
        return {"name": text, "error": f"{type(error).__name__}: {error}"[:300]}


def _against(reference: Tensor, measured: dict[str, Any]) -> dict[str, Any]:
    """A measurement with the angle of its gradient instead of the gradient."""
    angle = cosine(reference, measured.pop("gradient"))
    say(f"{measured['name']}: {measured['seconds']:.3f} s, gradient cosine {angle:.6f}")
    return measured | {"gradient_cosine": angle}


def _approximate(session: Session, reference: Tensor, fast: LTX2Levers) -> list[dict[str, Any]]:
    """Ways to do less: seconds, and how far the gradient turns.

    Reuse is judged at the point that one Adam step leads to, where the steps without gradient
    are those of the start.
    """
    session.set_levers(fast)
    problem, sampling = session.problem, session.size.sampling
    start, found = torch.zeros(1, problem.dim, device=session.device), []
    moved = start - LEARNING_RATE * reference.sign()
    exact = problem.evaluate(moved, gradient=True)[0].gradient
    steps = sampling.grad_steps
    for name, change, before, point, wanted in (
        ("refresh_prefix=2", {"refresh_prefix": 2}, start, moved, exact),
        (f"grad_steps={steps // 2}", {"grad_steps": steps // 2}, start, start, reference),
        ("grad_steps=1", {"grad_steps": 1}, start, start, reference),
        ("refresh_blocks=2", {"refresh_blocks": 2}, start, start, reference),
        ("refresh_blocks=4", {"refresh_blocks": 4}, start, start, reference),
        (f"stop_early={steps // 2}", {"stop_early": steps // 2}, start, start, reference),
    ):
        problem.sampling = replace(sampling, **change)
        problem.evaluate(before, gradient=True)
        begun = time.perf_counter()
        gradient = problem.evaluate(point, gradient=True)[0].gradient
        assert wanted is not None
        assert gradient is not None
        seconds, angle = time.perf_counter() - begun, cosine(wanted, gradient)
        found.append({"name": name, "seconds": seconds, "gradient_cosine": angle})
        say(json.dumps(found[-1]))
    problem.sampling = sampling
    return found


def _each(
    session: Session, reference: Tensor, name: str, fast: LTX2Levers, options: argparse.Namespace
) -> Any:
    """The fast way with one cost of the naive one, in turns with the fast way alone.

    A machine's pace drifts by more than most costs, so each is held against its neighbour in time.
    """
    paid, free = [], []
    for turn in range(options.iterations + 1):
        with paying(session, [name], fast):
            if turn == 0:
                angle = cosine(reference, session.gradient())  # warms up
                continue
            paid += session.iterate(1)[0]
        session.set_levers(fast)
        free += session.iterate(1)[0]
    ratio = float(np.median([cost / alone for cost, alone in zip(paid, free, strict=True)]))
    result = {"name": f"fast + {name}", "seconds": float(np.median(paid)), "ratio": ratio}
    say(f"{json.dumps(result)}, paid {paid}, free {free}")
    return {**result, "gradient_cosine": angle, "source": COSTS[name].source}


def _costs(options: argparse.Namespace) -> list[str]:
    return [name for name in (options.costs or DEFAULT) if name not in options.without]


def _compare(
    session: Session, reference: Tensor, fast: LTX2Levers, options: argparse.Namespace
) -> dict[str, Any]:
    """The naive way's time and gradient.

    Where a cost changes the result, as tiles do at their seams, the fast way is made to change it
    too for the comparison of gradients: then both compute the same.
    """
    names = _costs(options)
    changes = [COSTS[name].levers or {} for name in names if not COSTS[name].exact]
    with paying(session, names, LTX2Levers().closed):
        measured = measure(session, "naive", options.iterations)
    found = measured.pop("gradient")
    session.set_levers(replace(fast, **{k: v for change in changes for k, v in change.items()}))
    return {
        "naive_seconds": measured["seconds"],
        "naive_stages": measured["stages"],
        "naive_peak_bytes": measured["peak_bytes"],
        "naive_costs": {name: COSTS[name].source for name in names},
        "gradient_cosine": cosine(session.gradient() if changes else reference, found),
        "gradient_cosine_across_tilings": cosine(reference, found),
    }


def table(result: dict[str, Any]) -> str:
    """Stages against what the matrix rate would allow, as Markdown."""
    rate = result["matrix_rate"]
    lines = [
        "| stage | s | share | TFLOP | s at the matrix rate |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    whole = sum(result["fast_stages"].values())
    for stage, seconds in result["fast_stages"].items():
        flops = result["flops"].get(stage)
        extra = f"{flops / 1e12:.1f} | {flops / rate:.2f}" if flops else " | "
        lines.append(f"| {stage} | {seconds:.3f} | {seconds / whole:.1%} | {extra} |")
    flops = sum(result["flops"].values())
    lines.append(
        f"| iteration | {result['fast_seconds']:.3f} | | {flops / 1e12:.1f} | {flops / rate:.2f} |"
    )
    head = (
        f"{result['size']} on {result['device']}, {result['dtype']}, torch {result['torch']}; "
        f"matrix rate {rate / 1e12:.2f} TFLOP/s, of which "
        f"{result['share_of_matrix_rate']:.1%} used; peak {result['peak_bytes'] / 2**30:.2f} GiB"
    )
    if result.get("gradient_cosine_to_file") is not None:
        lines.append(f"\ngradient cosine to the file {result['gradient_cosine_to_file']:.6f}")
    more = (result["variants"], result.get("each_cost", ()), result.get("approximations", ()))
    for each in (each for group in more for each in group):
        angle = f", gradient cosine {each['gradient_cosine']:.6f}" if "seconds" in each else ""
        seconds = f"{each['seconds']:.3f} s{angle}" if "seconds" in each else each["error"]
        if "ratio" in each:
            seconds += f", {each['ratio']:.2f} of the fast one beside it"
        lines.append(f"\n{each['name']}: {seconds}")
    if "ratio" in result:
        lines.append(
            f"\nnaive {result['naive_seconds']:.3f} s, ratio {result['ratio']:.2f}, "
            f"gradient cosine {result['gradient_cosine']:.6f}"
        )
    return head + "\n\n" + "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--device", default=default)
    parser.add_argument("--dtype", help="bfloat16 on a GPU, float32 elsewhere by default")
    parser.add_argument("--iterations", type=int, default=2, help="timed, after one that warms up")
    parser.add_argument("--steps", type=int, help="denoising steps, other than the size's own")
    parser.add_argument("--grad-steps", type=int, help="of which carry gradient")
    parser.add_argument("--lever", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME=VALUE,...",
        help="measure these levers too, on top of --lever",
    )
    parser.add_argument("--storage", choices=STORAGES, default="resident", help="of the denoiser")
    parser.add_argument("--approximations", action="store_true", help="what doing less costs")
    parser.add_argument(
        "--gradient", type=Path, metavar="FILE", help="written, or compared with if it is there"
    )
    parser.add_argument("--compare", choices=["naive"])
    parser.add_argument("--costs", nargs="*", choices=COSTS, help="that the naive way pays")
    parser.add_argument(
        "--without", nargs="*", choices=COSTS, default=[], help="costs to leave out"
    )
    parser.add_argument("--each", action="store_true", help="each naive cost alone, added to fast")
    parser.add_argument("--lpips", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--text-encoder", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    with redirect_stdout(sys.stderr), quiet_libraries():
        result = run(options)
    print(json.dumps(result) if options.json else table(result))


if __name__ == "__main__":
    main()
