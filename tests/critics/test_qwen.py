import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from sparks.critics import Critic
from sparks.critics.chat import answer_ids, question_inputs
from sparks.critics.preprocess import Preprocess
from sparks.critics.qwen import QUESTION, QwenCritic, yes_no_logits
from sparks.errors import SparksError
from sparks.pocket.critic_model import build_model, build_tokenizer, save
from sparks.testing import check_critic

PROMPT = "a red ball jumps"


def plain_log_odds(folder: Path, critic: QwenCritic, frames: torch.Tensor) -> torch.Tensor:
    """The answer by the stock forward: processor, full logits, softmax over two of them."""
    processing = pytest.importorskip("transformers.models.qwen2_5_vl.processing_qwen2_5_vl")
    processor = processing.Qwen2_5_VLProcessor.from_pretrained(folder)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()
    question = QUESTION.replace("{prompt}", PROMPT)
    content = [{"type": "video"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    inputs = processor(
        text=[text] * len(frames),
        videos=list(frames),
        do_rescale=False,
        do_sample_frames=False,
        return_tensors="pt",
        video_metadata=[
            {"total_num_frames": 25, "fps": 12.5, "frames_indices": list(range(len(video)))}
            for video in frames
        ],
    )
    inputs.pop("video_metadata", None)
    inputs["second_per_grid_ts"] = torch.as_tensor(inputs["second_per_grid_ts"])
    ids = critic.tokenizer.convert_tokens_to_ids(["yes", "no"])
    with torch.no_grad():
        odds = model(**inputs).logits[:, -1, ids].softmax(-1)
    return odds[:, 0].log() - odds[:, 1].log()


def test_equals_the_plain_forward(folder: Path, critic: QwenCritic, frames: torch.Tensor) -> None:
    indices = [0, 3, 7, 10, 14, 17, 21, 24]
    expected = plain_log_odds(folder, critic, frames[:, indices])
    torch.testing.assert_close(critic.log_odds(frames, PROMPT), expected, atol=1e-4, rtol=1e-4)


def test_inputs_equal_the_processors(folder: Path, critic: QwenCritic) -> None:
    processing = pytest.importorskip("transformers.models.qwen2_5_vl.processing_qwen2_5_vl")
    processor = processing.Qwen2_5_VLProcessor.from_pretrained(folder)
    questions = ["a red ball?", "Does the blue box slide to the left, or not at all?"]
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}],
            add_generation_prompt=True,
        )
        for question in questions
    ]
    expected = processor(
        text=texts, videos=[torch.rand(4, 3, 64, 96)] * 2, padding=True, return_tensors="pt"
    )
    ours = question_inputs(critic.tokenizer, critic.model.config, questions, (2, 4, 6), 0.5)
    for name in ("input_ids", "attention_mask", "mm_token_type_ids", "video_grid_thw"):
        assert ours[name].tolist() == torch.as_tensor(expected[name]).tolist(), name


def test_conforms(critic: QwenCritic, frames: torch.Tensor) -> None:
    assert isinstance(critic, Critic)
    check_critic(critic, frames, PROMPT, atol=1e-4)


def test_gradient_equals_the_finite_difference(critic: QwenCritic, frames: torch.Tensor) -> None:
    leaf = frames.clone().requires_grad_()
    critic.log_odds(leaf, PROMPT).sum().backward()
    assert leaf.grad is not None
    direction = leaf.grad.sign()
    step = 1e-4
    ahead = critic.log_odds(frames + step * direction, PROMPT).sum()
    behind = critic.log_odds(frames - step * direction, PROMPT).sum()
    slope = (leaf.grad * direction).sum()
    torch.testing.assert_close((ahead - behind) / (2 * step), slope, rtol=0.02, atol=0)


def test_only_the_chosen_frames_matter(critic: QwenCritic, frames: torch.Tensor) -> None:
    leaf = frames.clone().requires_grad_()
    critic.log_odds(leaf, PROMPT, indices=[4, 5, 6, 7]).sum().backward()
    assert leaf.grad is not None
    touched = leaf.grad.abs().sum((0, 2, 3, 4)).nonzero().flatten()
    assert touched.tolist() == [4, 5, 6, 7]


def test_the_answer_depends_on_question_time_and_order(
    critic: QwenCritic, frames: torch.Tensor
) -> None:
    odds = critic.log_odds(frames, PROMPT)
    assert not torch.allclose(odds, critic.log_odds(frames, "a green triangle grows"))
    assert not torch.allclose(odds, critic.log_odds(frames.flip(1), PROMPT))
    assert odds[0] != odds[1]


def test_seconds_per_grid_follow_fps_and_sampling(folder: Path) -> None:
    critic = QwenCritic(folder, fps=12.5)
    assert critic._seconds([0, 3, 7, 10, 14, 17, 21, 24]) == pytest.approx(2 * 25 / 8 / 12.5)
    assert critic._seconds([5, 6, 7, 8]) == pytest.approx(2 / 12.5)
    critic.fps = 25
    assert critic._seconds([5, 6, 7, 8]) == pytest.approx(2 / 25)


def test_weights_are_frozen(critic: QwenCritic) -> None:
    assert not critic.model.training
    assert not any(weight.requires_grad for weight in critic.model.parameters())


def test_question_template_and_answers_are_options(
    folder: Path, critic: QwenCritic, frames: torch.Tensor
) -> None:
    literal = QwenCritic(folder, question="{prompt}", fps=12.5)
    full = QUESTION.replace("{prompt}", PROMPT)
    torch.testing.assert_close(literal.log_odds(frames, full), critic.log_odds(frames, PROMPT))
    swapped = QwenCritic(folder, answers=("no", "yes"), fps=12.5)
    torch.testing.assert_close(swapped.log_odds(frames, PROMPT), -critic.log_odds(frames, PROMPT))


def test_last_sub_token_of_an_answer_is_scored(critic: QwenCritic) -> None:
    assert critic.tokenizer.convert_ids_to_tokens(critic.answers) == ["yes", "no"]
    last = critic.tokenizer.encode(" jumps")[-1]
    assert answer_ids(critic.tokenizer, ("yes", "ball jumps"))[1] == last
    with pytest.raises(SparksError, match="differ"):
        answer_ids(critic.tokenizer, ("yes", "yes"))
    with pytest.raises(SparksError, match="differ"):
        answer_ids(critic.tokenizer, ("yes", ""))


def test_bfloat16_answers_are_not_quantised(folder: Path, frames: torch.Tensor) -> None:
    odds = QwenCritic(folder, dtype="bfloat16", fps=12.5).log_odds(frames, PROMPT)
    assert odds.dtype == torch.float32
    assert not torch.equal(odds, odds.bfloat16().float())


def test_any_aspect_and_size(folder: Path) -> None:
    video = torch.rand(1, 9, 3, 50, 100)
    odds = [
        QwenCritic(folder, size=size, sampling="normal").log_odds(video, PROMPT)
        for size in (None, (128, 128))
    ]
    assert odds[0].isfinite()
    assert odds[0] != odds[1]


@pytest.mark.parametrize("autocast", [False, True])
def test_trains(frames: torch.Tensor, autocast: bool) -> None:
    tokenizer = build_tokenizer([PROMPT])
    model = build_model(tokenizer, hidden=64, layers=1, vision_hidden=32, vision_depth=1)
    pixels, grid = Preprocess(patch_size=16)(frames[:, :4])
    inputs = question_inputs(
        tokenizer, model.config, ["jumps?", PROMPT], tuple(grid[0].tolist()), [0.5, 0.16]
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = yes_no_logits(
            model, {**inputs, "pixel_values_videos": pixels}, answer_ids(tokenizer, ("yes", "no"))
        )
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
    loss.backward()
    assert logits.dtype == torch.float32
    assert all(weight.grad is not None for weight in model.parameters())


def test_padding_does_not_change_the_answer(critic: QwenCritic, frames: torch.Tensor) -> None:
    pixels, grid = critic.preprocess(frames[:, :4])
    cell = tuple(grid[0].tolist())
    questions = ["jumps?", QUESTION]
    together = question_inputs(critic.tokenizer, critic.model.config, questions, cell, 0.5)
    both = yes_no_logits(critic.model, {**together, "pixel_values_videos": pixels}, critic.answers)
    for question, patches, expected in zip(questions, pixels.chunk(2), both, strict=True):
        alone = question_inputs(critic.tokenizer, critic.model.config, [question], cell, 0.5)
        inputs = {**alone, "pixel_values_videos": patches}
        one = yes_no_logits(critic.model, inputs, critic.answers)
        torch.testing.assert_close(one[0], expected, atol=1e-4, rtol=1e-4)


def test_tokenizer_has_the_qwen_form_and_is_repeatable() -> None:
    tokenizer = build_tokenizer([PROMPT])
    assert isinstance(tokenizer, Qwen2Tokenizer)
    assert tokenizer.get_vocab() == build_tokenizer([PROMPT]).get_vocab()
    assert len(tokenizer.encode("yes")) == len(tokenizer.encode("no")) == 1
    assert len(tokenizer.encode("<|video_pad|>")) == 1
    assert tokenizer.decode(tokenizer.encode("naïve 跳, Ünïcode")) == "naïve 跳, Ünïcode"


def test_model_repeats_with_the_seed_and_leaves_the_generator_alone() -> None:
    tokenizer = build_tokenizer([PROMPT])
    state = torch.get_rng_state()
    models = [
        build_model(tokenizer, hidden=64, layers=1, vision_depth=1, seed=s) for s in (0, 0, 1)
    ]
    assert torch.equal(state, torch.get_rng_state())
    first, same, other = (model.lm_head.weight for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_missing_folder() -> None:
    with pytest.raises(SparksError, match=r"/no/such/critic.*save_pretrained"):
        QwenCritic("/no/such/critic")


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(SparksError, match="save_pretrained"):
        QwenCritic(tmp_path)


def test_other_architecture(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "qwen3_vl"}))
    with pytest.raises(SparksError, match="qwen3_vl"):
        QwenCritic(tmp_path)


def test_corrupt_weights(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(SparksError, match="cannot load critic model"):
        QwenCritic(tmp_path)


def test_bad_options(folder: Path) -> None:
    with pytest.raises(SparksError, match="uniform"):
        QwenCritic(folder, sampling="uniform")
    with pytest.raises(SparksError, match="multiples of 32"):
        QwenCritic(folder, size=(60, 64))


def test_reserved_tokens_in_a_prompt_are_refused(critic: QwenCritic, frames: torch.Tensor) -> None:
    with pytest.raises(SparksError, match="video_pad"):
        critic.log_odds(frames, "a <|video_pad|> jumps")


def test_braces_in_a_prompt_are_text(critic: QwenCritic, frames: torch.Tensor) -> None:
    braced, plain = (critic.log_odds(frames, text) for text in ("a {ball} jumps", "a ball jumps"))
    assert (braced - plain).abs().min() > 0


def test_saving_twice_is_identical(folder: Path, tmp_path: Path) -> None:
    tokenizer = build_tokenizer([PROMPT])
    for name in ("a", "b"):
        model = build_model(tokenizer, hidden=64, layers=1, vision_depth=1)
        save(tmp_path / name, model, tokenizer)
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
