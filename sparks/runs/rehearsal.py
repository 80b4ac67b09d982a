"""What an edit would do, with nothing loaded, fetched or written: `sparks solve --dry-run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparks.models.weights import find
from sparks.registry import declared
from sparks.runs.folder import Run
from sparks.runs.memory_plan import plan_edit
from sparks.runs.resolve import resolve
from sparks.search.budget import Budget
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings


def rehearse(settings: Settings, output: Path | None = None) -> dict[str, Any]:
    """Resolve, check and plan.

    Args:
        settings: as of `sparks.edit`.
        output: the run folder, which must be free.

    Raises:
        SparksError: the edit could not be begun.
    """
    import torch

    resolved = resolve(settings, fetching=False)
    config = resolved.config
    Run(output, config.prompt or "")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    device = config.device or default
    plan = plan_edit(config, torch.device(device))
    return {
        "video": config.video,
        "prompt": config.prompt,
        "model": config.model,
        "model_folder": None if resolved.folder is None else str(resolved.folder),
        "critic_is_here": config.critic.model is None or find(config.critic.model) is not None,
        "device": device,
        "budget": Budget.parse(config.budget).limits(),
        "calls_per_evaluation": _calls(config),
        "memory": None if plan is None else plan.record(),
        "output": None if output is None else str(output),
        "config": json.loads(config.model_dump_json()),  # null for what is no number
    }


def describe(rehearsed: dict[str, Any]) -> str:
    """A rehearsal for people to read."""
    config, memory = rehearsed["config"], rehearsed["memory"]
    editor, critic, space, solver = (
        config[part]["name"] for part in ("editor", "critic", "space", "solver")
    )
    window = config["window"]
    region = (
        f"seconds {window[0]} to {window[1]} are made anew"
        if window
        else f"the first {config['prefix_frames']} frames are kept"
    )
    missing = "" if rehearsed["model_folder"] else ", not on this machine"
    limits = ", ".join(f"{name} {limit:g}" for name, limit in rehearsed["budget"].items())
    lines = [
        f"edit      {rehearsed['video'] or 'the bundled clip'}: {rehearsed['prompt']!r}; {region}",
        f"model     {rehearsed['model']} ({editor}) on {rehearsed['device']}{missing}",
        f"critic    {critic} {config['critic']['model'] or ''}".rstrip()
        + ("" if rehearsed["critic_is_here"] else ", not on this machine"),
        f"search    {solver} in {space}, within {limits}; "
        f"{rehearsed['calls_per_evaluation']} calls for each evaluation",
        f"output    {rehearsed['output'] or 'a new folder in runs'}",
    ]
    if memory is not None:
        peak = max(sum(parts.values()) for parts in memory["phases"].values())
        lines.insert(2, f"memory    {peak / 2**30:.1f} GiB, denoiser {memory['storage']}")
    return "\n".join(lines)


def _calls(config: Config) -> int:
    """Critic calls of one evaluation, as far as they are known before the critic is built."""
    from sparks import registry
    from sparks.critics.base import Critic

    calls = declared(registry.critics.get(config.critic.name), Critic, "calls")
    return config.critic.windows * (calls if isinstance(calls, int) else 1)
