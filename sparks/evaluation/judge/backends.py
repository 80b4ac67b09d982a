"""Who can be asked: a server, a local model, a file of answers, or pocket's own measurement."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from sparks.errors import SparksError, shorten
from sparks.evaluation.judge.calls import Backend
from sparks.evaluation.judge.request import Request
from sparks.files import read_json
from sparks.media.clip import read_clip
from sparks.models.machine import default_device

NAMES = ("openai", "local", "recorded", "pocket")
MOST_TOKENS = 4096


def backend(name: str, model: str | None = None, base_url: str | None = None) -> Backend:
    """One of NAMES.

    Args:
        name: which.
        model: the server's name of it; a folder or hub id; or the file of answers.
        base_url: of an OpenAI-compatible server, by default OpenAI's or `OPENAI_BASE_URL`.

    Raises:
        SparksError: no such backend, or it lacks its model.
    """
    if name == "pocket":
        from sparks.evaluation.judge.truth import Truth

        return Truth()
    if name not in NAMES:
        raise SparksError(f"no judge {name!r}; choose {', '.join(NAMES)}")
    if model is None:
        what = {"openai": "a model's name", "local": "a folder or hub id", "recorded": "a file"}
        raise SparksError(f"judge {name!r} needs --model, {what[name]}")
    if name == "openai":
        return Server(model, base_url)
    return Local(model) if name == "local" else Recorded(Path(model))


class Recorded:
    """Answers by the keys of their questions, from a JSON file or a folder of kept calls."""

    def __init__(self, path: Path) -> None:
        self.name = "recorded"
        try:
            if path.is_dir():
                calls = [read_json(file) for file in path.glob("*.json")]
                answers = {each["key"]: [s["answer"] for s in each["said"]] for each in calls}
                self.name = str(calls[0]["asked"]["judge"]) if calls else "recorded"
            else:
                recorded = read_json(path).items()
                answers = {key: [a] if isinstance(a, str) else a for key, a in recorded}
            self.answers = TypeAdapter(dict[str, list[str]]).validate_python(answers, strict=True)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = shorten(f"{type(error).__name__}: {error}")
            raise SparksError(f"no recorded answers at {path} ({why})") from error

    def answer(self, request: Request, earlier: list[tuple[str, str]]) -> str:
        """The next answer to the question.

        Raises:
            SparksError: none is recorded.
        """
        answers = self.answers.get(request.key, [])
        if len(earlier) >= len(answers):
            raise SparksError(
                f"no recorded answer to question {request.key} about {request.scenario.name}; "
                "ask a judge that is there"
            )
        return answers[len(earlier)]


class Server:
    """A model behind an OpenAI-compatible server; frames are sent as JPEG."""

    def __init__(self, model: str, base_url: str | None = None) -> None:
        try:
            import openai
        except ImportError as error:
            raise SparksError(
                "an OpenAI-compatible judge needs the client; pip install 'sound-sparks[judge]'"
            ) from error
        self.name, self._error = model, openai.OpenAIError
        key = os.environ.get("OPENAI_API_KEY", "none")  # local servers want none
        self._client = openai.OpenAI(api_key=key, base_url=base_url)

    def answer(self, request: Request, earlier: list[tuple[str, str]]) -> str:
        """What the server's model says.

        Raises:
            SparksError: the server cannot be reached, or refuses.
        """
        content: list[Any] = [{"type": "text", "text": request.text}]
        for label, images in pictures(request):
            content.append({"type": "text", "text": label})
            content += [{"type": "image_url", "image_url": {"url": _jpeg(im)}} for im in images]
        form = {"name": "answer", "schema": request.wanted.model_json_schema()}
        messages: list[Any] = [{"role": "user", "content": content}, *_repairs(earlier)]
        try:
            completion = self._client.chat.completions.create(
                model=self.name,
                messages=messages,
                temperature=0,
                response_format={"type": "json_schema", "json_schema": form},
            )
        except self._error as error:
            raise SparksError(f"the judge {self.name!r} cannot be asked: {error}") from error
        return completion.choices[0].message.content or ""


class Local:
    """A vision-language model of transformers in this process, greedily."""

    def __init__(self, model: str, most_tokens: int = MOST_TOKENS) -> None:
        import transformers

        from sparks.models.weights import find
        from sparks.models.whole import load_network, readable

        folder = find(model)
        if folder is None:
            raise SparksError(f"no judge model at {model!r}; give a folder, or fetch the hub id")
        self.name, self._most_tokens = Path(model).name, most_tokens
        with readable(folder, "a judge model"):
            self._processor = transformers.AutoProcessor.from_pretrained(folder)
        device = default_device()
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        kind = transformers.AutoModelForImageTextToText
        network = load_network(kind, folder, "a judge model", dtype=dtype)
        self._network = network.to(device).eval().requires_grad_(False)

    def answer(self, request: Request, earlier: list[tuple[str, str]]) -> str:
        """What the model says."""
        content: list[Any] = [{"type": "text", "text": request.text}]
        for label, images in pictures(request):
            content.append({"type": "text", "text": label})
            content += [{"type": "image", "image": image} for image in images]
        messages = [{"role": "user", "content": content}]
        for each in _repairs(earlier):
            words = [{"type": "text", "text": each["content"]}]
            messages.append({"role": each["role"], "content": words})
        inputs = self._processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._network.device)
        with torch.no_grad():
            made = self._network.generate(
                **inputs, do_sample=False, max_new_tokens=self._most_tokens
            )
        new = made[:, inputs["input_ids"].shape[1] :]
        text: str = self._processor.batch_decode(new, skip_special_tokens=True)[0]
        return text


def _repairs(earlier: list[tuple[str, str]]) -> Iterator[dict[str, str]]:
    for text, wrong in earlier:
        yield {"role": "assistant", "content": text}
        yield {"role": "user", "content": f"That is not of the form asked for: {wrong}. Again."}


def pictures(request: Request) -> Iterator[tuple[str, list[Any]]]:
    """Source and candidates: a label, and PIL images of evenly spaced frames."""
    yield "The source:", _images(request.scenario.source, request.num_frames)
    for alias, method in request.methods.items():
        yield f"Edit {alias}:", _images(request.scenario.edits[method], request.num_frames)


def _images(video: Path, count: int) -> list[Any]:
    from PIL import Image

    frames = read_clip(video).frames
    chosen = torch.linspace(0, len(frames) - 1, min(count, len(frames))).round().long()
    return [Image.fromarray(_bytes(frame)) for frame in frames[chosen]]


def _bytes(frame: Tensor) -> Any:
    return frame.mul(255).round().byte().permute(1, 2, 0).numpy()


def _jpeg(image: Any) -> str:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
