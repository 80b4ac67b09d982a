"""Runs of releases whose defaults were others: they go on with those that they began with."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.settings.layers import merge
from sparks.settings.yaml import Settings

log = logging.getLogger("sparks")

# What searches without gradients drew with, whatever the space, before it came to matter.
_SIGMA = {"cma": 0.5, "nevergrad": 0.5, "ppo": 0.5, "random": 1.5}


def as_begun(settings: Settings, facts: Mapping[str, Any], folder: Path) -> Settings:
    """The settings of a run, with what its release took for granted.

    Args:
        settings: of its `config.yaml`.
        facts: of its `run.json`, where releases since then say what the settings came to.
        folder: of the run.

    Raises:
        SparksError: its loss is no longer computed.
    """
    if "settings" in facts:
        return settings
    if (settings.get("objective") or {}).get("latent_schedule") == "cosine_increase":
        raise SparksError(
            f"run {folder} was begun with a cosine_increase that ended at 5.9 times the weights, "
            "3.0 now; start a new run"
        )
    log.warning("run %s was begun by an earlier release; it goes on by this one's rules", folder)
    name = (settings.get("solver") or {}).get("name", "")
    sigma = _SIGMA.get(name.partition("/")[0])
    return (
        settings if sigma is None else merge({"solver": {"name": name, "sigma": sigma}}, settings)
    )
