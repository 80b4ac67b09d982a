"""The trained model: loads with plain classes, keeps what it should, hears what it is given."""

import zlib
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

import sparks
from sparks.editors import LTX2Editor, Sampling
from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.media.clip import Clip
from sparks.pocket import measure, weights_path, world
from sparks.pocket.perceptual import load_perceptual
from sparks.pocket.training.acceptance import every_action
from sparks.pocket.training.codec import decode_video, encode_video
from sparks.pocket.words import ACTIONS, vocabulary
from sparks.pocket.world import Scenes
from tests.pocket.conftest import SEED

COMPONENTS = [
    (diffusers.AutoencoderKLLTX2Video, "vae"),
    (diffusers.AutoencoderKLLTX2Audio, "audio_vae"),
    (diffusers.LTX2VideoTransformer3DModel, "transformer"),
    (LTX2TextConnectors, "connectors"),
    (transformers.Gemma3ForConditionalGeneration, "text_encoder"),
    (transformers.Qwen2_5_VLForConditionalGeneration, "critic"),
]


def clip(scene: Scenes) -> Clip:
    sound = world.sound(scene)[0]
    return Clip(world.render(scene)[0], world.FPS, sound, world.SAMPLE_RATE)


@pytest.mark.parametrize(("kind", "folder"), COMPONENTS, ids=[name for _, name in COMPONENTS])
def test_weights_load_strictly(kind: Any, folder: str) -> None:
    _, info = kind.from_pretrained(weights_path() / folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]


def test_the_package_is_small() -> None:
    files = [path for path in Path(sparks.__file__).parent.rglob("*") if path.is_file()]
    # A wheel is a zip: what is downloaded is each file, deflated.
    wheel = sum(
        len(zlib.compress(path.read_bytes())) for path in files if "__pycache__" not in path.parts
    )
    assert wheel < 40e6
    assert not [path.name for path in files if path.suffix in (".bin", ".pt", ".pth", ".ckpt")]


def test_unknown_words_are_refused_with_the_known_ones(editor: LTX2Editor) -> None:
    source = clip(world.draw(1, SEED))
    with pytest.raises(SparksError, match="'orange', 'elephant'") as refused:
        editor.prepare(source, "an orange elephant jumps", prefix_frames=5, seed=0)
    assert all(f" {word}" in str(refused.value) for word in vocabulary())
    with pytest.raises(SparksError, match="'sharp'"):
        editor.prepare(source, "a red ball", negative_prompt="sharp", prefix_frames=5, seed=0)


def test_the_perceptual_distance_grows_with_displacement() -> None:
    distance = load_perceptual(weights_path() / "perceptual")
    scenes = world.draw(6, SEED).acting("stay")
    state = world.motion(scenes, torch.zeros(1))

    def moved(by: float) -> torch.Tensor:
        shifted = state.clone()
        shifted[..., 0] += by
        return world.paint(scenes, shifted)[:, 0]

    steps = torch.stack([distance(moved(0), moved(d), normalize=True)[:, 0, 0, 0] for d in SHIFTS])
    assert steps[0].abs().max() < 1e-6
    assert (steps.diff(dim=0) > 0).all()


SHIFTS = (0.0, 0.02, 0.06, 0.14)


def test_the_perceptual_distance_is_differentiable() -> None:
    distance = load_perceptual(weights_path() / "perceptual")
    frames = world.render(world.draw(1, SEED).acting("jump"))[0]
    first, second = frames[:2].clone().requires_grad_(), frames[10:12]
    distance(first, second, normalize=True).sum().backward()
    assert first.grad is not None
    assert first.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_no_perceptual_trunk_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SparksError, match="not found: give a model folder that has one"):
        load_perceptual(tmp_path)


def test_the_video_codec_keeps_the_verdict(editor: LTX2Editor) -> None:
    scenes = every_action(2 * len(ACTIONS))
    frames = world.render(scenes)
    with torch.no_grad():
        again = decode_video(editor.vae, encode_video(editor.vae, frames))
    seen = measure.track(again, scenes.colour)
    strengths = measure.strengths(seen)
    assert measure.verdict(seen, scenes.action, strengths).happened.float().mean() > 0.9
    other = (scenes.action + 1) % len(ACTIONS)
    assert measure.verdict(seen, other, strengths).happened.float().mean() < 0.1
    assert (measure.outside_error(again, frames, scenes.colour) < 0.02).all()


@pytest.mark.parametrize("row", range(3))
def test_another_sound_makes_another_motion(editor: LTX2Editor, row: int) -> None:
    """The same picture, prompt and noise: with the idle sound still, with the other one not."""
    scene = world.draw(3, SEED, ["jump", "slide_left", "slide_right"])[row : row + 1]
    generic, idle = scene.prompts(actions=False)[0], scene.acting("stay")
    conditioning = editor.prepare(clip(idle), generic, prefix_frames=5, seed=1)
    heard = editor.prepare(clip(scene), generic, prefix_frames=5, seed=1).alpha_0
    start = editor.start(conditioning)
    controls = Controls(torch.cat([start.alpha, heard]), start.delta_v.repeat(2, 1, 1))
    frames = editor.render(conditioning, controls, sampling=Sampling(8, grad_steps=1))
    with_idle, with_acting = measure.judge(frames, scene.prompts() * 2).strength.tolist()
    assert with_acting > with_idle + 0.5
    assert measure.judge(frames[1:], scene.prompts()).happened.all()
    assert measure.judge(frames[:1], idle.prompts()).happened.all()
