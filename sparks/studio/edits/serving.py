"""A studio with its server, until it is told to end."""

from __future__ import annotations

import contextlib
import re
import secrets
from pathlib import Path

from sparks.errors import SparksError
from sparks.studio.door import Door
from sparks.studio.edits.app import MOST_UPLOADED, create_studio
from sparks.studio.edits.machine import devices as all_devices
from sparks.studio.edits.studio import Studio
from sparks.studio.server import serve

_DEVICE = re.compile(r"cpu|cuda:[0-9]+")


def serve_studio(
    root: Path,
    address: str,
    port: int,
    token: str | None,
    hosts: tuple[str, ...],
    devices: list[str] | None,
    models: tuple[str, ...],
) -> None:
    """Answer until Ctrl-C or SIGTERM.

    Args:
        root: the folder of all runs.
        token: made if the address is one that other machines reach.
        devices: None for all.
        models: that may be chosen besides those that are here.

    Raises:
        SparksError: the address, the folder or a device cannot be had.
    """
    for device in devices or ():
        if not _DEVICE.fullmatch(device):
            raise SparksError(f"device {device!r} is unknown; write cpu or cuda:0, cuda:1, ...")
    if token is None and not Door(address, token="-").loopback:
        token = secrets.token_urlsafe(16)
    door = Door(address, port, token, hosts, limits={"/clips": MOST_UPLOADED})
    studio = Studio(root, devices or all_devices(), models)
    app = create_studio(studio, door)
    with contextlib.closing(studio.queue):
        serve(app, door, lambda url: _begin(studio, url))


def _begin(studio: Studio, url: str) -> None:
    studio.begin()
    print(f"The studio of {studio.root} is at {url}\nCtrl-C ends it; edits go on.", flush=True)
