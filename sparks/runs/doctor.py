"""What this machine has and what would run on it: `sparks doctor`."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sparks.errors import SparksError
from sparks.files import read_json
from sparks.models.weights import BUNDLED, KNOWN_CRITICS, KNOWN_EDITORS, counted, find, parameters
from sparks.models.whole import check_networks
from sparks.runs.memory_plan import GIB, Shape, make_plan

_PACKAGES = ("sound-sparks", "torch", "diffusers", "transformers", "lpips", "av", "gymnasium")
_EVERY = ("transformer", "vae", "text_encoder")
_PARTS = (*_EVERY, "audio_vae", "connectors")


def examine(model: str | None = None, critic: str | None = None) -> dict[str, Any]:
    """Device, memory, versions, models that are here, and what would fit.

    Args:
        model: an editor to look for besides the published ones.
        critic: a critic, likewise.
    """
    import torch

    from sparks.editors.choosing import remembered
    from sparks.models.machine import device_name, free_memory, total_memory

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    editors = [*dict.fromkeys([*([model] if model else []), BUNDLED, *KNOWN_EDITORS])]
    critics = [*dict.fromkeys([*([critic] if critic else []), *KNOWN_CRITICS])]
    free = free_memory(device)
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "device": device_name(device),
        "memory": {"free": free, "total": total_memory(device)},
        "hub": {"home": _hub_home(), "offline": _offline()},
        "models": {name: _state(name, _parts(name)) for name in editors},
        "critics": {name: _state(name, ("",)) for name in critics},
        "levers": {key: asdict(choice) for key, choice in remembered().items()},
        "fits": _fits(editors, critics[0 if critic else -1], device, free),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _hub_home() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return str(HF_HUB_CACHE)


def _offline() -> bool:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    return bool(HF_HUB_OFFLINE)


def _parts(model: str) -> tuple[str, ...]:
    """The networks that an editor needs of a model: with sound, unless its index names none."""
    folder = find(model)
    if folder is None:
        return _PARTS
    try:
        index = read_json(folder / "model_index.json")
    except (OSError, ValueError):
        return _PARTS
    named = {*_EVERY, *index} if isinstance(index, dict) else _PARTS
    return tuple(part for part in _PARTS if part in named)


def _state(model: str, parts: tuple[str, ...]) -> dict[str, Any]:
    """`here`, `incomplete` or `missing`, and the folder."""
    folder = find(model)
    if folder is None:
        return {"state": "missing", "folder": None}
    try:
        present = counted(folder)
    except SparksError as error:
        return {"state": "incomplete", "folder": str(folder), "why": str(error)}
    if absent := [part for part in parts if part not in present]:
        return {"state": "incomplete", "folder": str(folder), "why": f"no {', '.join(absent)}"}
    try:
        check_networks(folder)
    except SparksError as error:
        return {"state": "incomplete", "folder": str(folder), "why": str(error)}
    return {"state": "here", "folder": str(folder)}


def _fits(editors: list[str], critic: str, device: Any, free: int) -> list[dict[str, Any]]:
    verdicts = []
    for editor in editors:
        own = "critic" in (counts := parameters(editor))
        judging = counts["critic"] if own else sum(parameters(critic).values())
        cuda = device.type == "cuda"
        plan = make_plan(
            counts,
            judging,
            None if own else Shape(),
            device=device.type,
            free=free,
            itemsize=2 if cuda else 4,
            storage=None if cuda else "resident",
        )
        verdicts.append(
            {
                "model": editor,
                "critic": "its own" if own else critic,
                "fits": plan.fits,
                "storage": plan.storage,
                "needs": max(map(plan.peak, plan.phases)),
            }
        )
    return verdicts


def _pulled(levers: dict[str, Any]) -> str:
    """Levers by name, those that are off left out."""
    return ", ".join(
        name if value is True else f"{name}={value}" for name, value in levers.items() if value
    )


def describe(findings: dict[str, Any]) -> str:
    """Findings for people to read."""
    memory, hub = findings["memory"], findings["hub"]
    versions = ", ".join(f"{name} {number}" for name, number in findings["versions"].items())
    lines = [
        f"device    {findings['device']}, {memory['free'] / GIB:.1f} of "
        f"{memory['total'] / GIB:.1f} GiB free",
        f"versions  Python {findings['python']}, {versions}",
        f"hub       {hub['home']}{', offline' if hub['offline'] else ''}",
    ]
    for kind in ("models", "critics"):
        for name, state in findings[kind].items():
            why = f" ({state['why']})" if "why" in state else ""
            lines.append(f"{kind[:-1]:<9} {name}: {state['state']}{why}")
    for situation, choice in findings["levers"].items():
        tried = ", ".join(f"{seconds:.3f} s {name}" for name, seconds in choice["seconds"].items())
        lines.append(f"quickest  {situation}: {_pulled(choice['levers'])} ({tried} a forward)")
    for each in findings["fits"]:
        how = f"fits, denoiser {each['storage']}" if each["fits"] else "does not fit"
        lines.append(
            f"would run {each['model']} with {each['critic']}: {how}; "
            f"needs {each['needs'] / GIB:.1f} GiB"
        )
    return "\n".join(lines)
