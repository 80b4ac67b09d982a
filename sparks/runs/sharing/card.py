"""A folder that the hub shows as a model: card, controls, recipe and previews.

README.md             the card; its metadata names the library, and the model if the hub has it
controls.safetensors  what `sparks transfer` reads
recipe.json           how they were made, for people
edited.mp4  side_by_side.mp4  contact_sheet.png  as the run has them
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av

from sparks.editors.controls import Controls
from sparks.files import replacing, write_text
from sparks.media.ffmpeg import opened
from sparks.models.weights import BUNDLED, is_hub_id
from sparks.settings.yaml import Settings

_FENCE = "`" * 3
PREVIEWS = ("edited.mp4", "side_by_side.mp4", "contact_sheet.png")


def write_card(folder: Path, run: Path, recipe: Settings, controls: Controls) -> list[str]:
    """Write card, recipe and previews; the names of all that there is beside the controls.

    Args:
        folder: that holds the controls already.
        run: the run directory, whose previews are taken as far as there are any.
        recipe: without anything that is not for others.
        controls: whose shapes the card tells.
    """
    text = json.dumps(recipe)
    shown = [name for name in PREVIEWS if run.is_dir() and (run / name).is_file()]
    for name in shown:
        _pass_on(run / name, folder / name, text)
    write_text(folder / "recipe.json", json.dumps(recipe, indent=1) + "\n")
    write_text(folder / "README.md", _card(recipe, controls, shown))
    return ["README.md", "recipe.json", *shown]


def _pass_on(source: Path, target: Path, recipe: str) -> None:
    """The same pictures and sound, packet by packet, with another recipe among the tags."""
    with replacing(target) as temporary:
        if source.suffix != ".mp4":
            shutil.copyfile(source, temporary)
            return
        options = {"movflags": "+faststart"}
        with opened(source) as old, av.open(str(temporary), "w", options=options) as new:
            new.metadata["comment"] = recipe
            streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
            for packet in old.demux():
                if packet.dts is not None:  # the last of each stream is empty
                    packet.stream = streams[packet.stream.index]
                    new.mux(packet)


def _card(recipe: Settings, controls: Controls, shown: list[str]) -> str:
    from huggingface_hub import ModelCardData

    model, config = str(recipe.get("model")), recipe["config"]
    data = ModelCardData(
        library_name="sparks",
        pipeline_tag="video-to-video",
        base_model=model if is_hub_id(model) else None,
        tags=["sparks", "video-editing", "test-time-tuning", str(config["editor"]["name"])],
    )
    prompt = str(recipe.get("prompt") or config.get("prompt"))
    facts = {
        "prompt": prompt,
        "what the source showed": config.get("static_prompt"),
        "model": f"{model}, the one in the package" if model == BUNDLED else model,
        "critic": config["critic"].get("model") or config["critic"]["name"],
        "search": f"{recipe.get('solver')} in {recipe.get('space')}, {config.get('budget')}",
        "P(yes), prompt only": _number(recipe, "p_yes_baseline"),
        "P(yes), edited": _number(recipe, "p_yes_edited"),
        "alpha": list(controls.alpha.shape) if controls.has_audio else None,
        "delta_v": list(controls.delta_v.shape),
        "fingerprints": ", ".join(f"{k} {v}" for k, v in (recipe.get("fingerprint") or {}).items()),
    }
    rows = [f"| {name} | {_cell(value)} |" for name, value in facts.items() if value]
    pictures = [f"![source, prompt only and edited]({n})" for n in shown if n.endswith(".png")]
    videos = [f"- [{name}]({name})" for name in shown if name.endswith(".mp4")]
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# {_cell(prompt)}",
        "Controls of a frozen audio-video editor, tuned by `sparks` until a critic saw in the "
        "video what the prompt says. They are no weights: two small tensors that another clip of "
        "the same model can be rendered with, without any search.",
        *pictures,
        "\n".join(videos),
        f'{_FENCE}sh\nsparks transfer OWNER/NAME --video yours.mp4 --prompt "..."\n{_FENCE}',
        "This fetches `controls.safetensors` and nothing else.",
        "\n".join(["| | |", "| --- | --- |", *rows]),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _number(recipe: Settings, name: str) -> str | None:
    value = (recipe.get("scores") or {}).get(name)
    return None if value is None else f"{value:.3f}"


def _cell(value: object) -> str:
    """Text that breaks neither a table nor a heading."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())
