"""Cross-attention that is averaged while the denoiser runs, against whole maps of diffusers."""

from typing import Any

import pytest
import torch
from diffusers.models.transformers import transformer_ltx2
from diffusers.models.transformers.transformer_ltx2 import LTX2Attention
from torch import Tensor

from sparks.editors import attention
from sparks.editors.attention import Attention, Gathering, gathering
from sparks.editors.guidance import Guidance, ModalityGuidance
from sparks.editors.levers import LTX2Levers
from sparks.editors.ltx2 import LTX2Editor
from sparks.editors.schedule import Sampling
from sparks.media.clip import Clip

PROMPT = "a red ball jumps"
GUIDED = Guidance(
    ModalityGuidance(guidance_scale=2.0, stg_scale=1.0, modality_scale=2.0), stg_blocks=(1,)
)


@pytest.fixture(scope="module")
def conditioning(editor: LTX2Editor, clip: Clip) -> Any:
    return editor.prepare(clip, PROMPT, negative_prompt="blue", prefix_frames=5, seed=3)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """Probabilities `[H, Q, K]` and values of every attention that diffusers works out."""
    seen: list[tuple[Tensor, Tensor]] = []
    original = transformer_ltx2.dispatch_attention_fn

    def record(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        q, k, v = (each[0].transpose(0, 1).double() for each in (query, key, value))
        seen.append((torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1), v))
        return original(query, key, value, **options)

    monkeypatch.setattr(transformer_ltx2, "dispatch_attention_fn", record)
    return seen


def gather(editor: LTX2Editor, conditioning: Any, steps: int = 2, **more: Any) -> Gathering:
    words = [positions for _, positions in editor.texts.words(PROMPT)]
    sampling = Sampling(num_inference_steps=steps, grad_steps=1)
    with gathering(editor, words) as gathered:
        editor.render(conditioning, editor.start(conditioning), sampling=sampling, **more)
    return gathered


def test_words_stand_at_the_front_where_connectors_put_them(editor: LTX2Editor) -> None:
    # The tokenizer begins with <bos>, padding is on the left, and registers follow the prompt.
    assert editor.texts.words(" a red  ball jumps ") == [
        *(("a", [1]), ("red", [2]), ("ball", [3]), ("jumps", [4]))
    ]


def test_averages_are_those_of_the_whole_maps(
    editor: LTX2Editor, conditioning: Any, whole: list[tuple[Tensor, Tensor]]
) -> None:
    gathered = gather(editor, conditioning)
    blocks = len(editor.transformer.transformer_blocks)
    # Of a block: video, audio, text for the video, text for the audio, sound, gaze.
    calls = [whole[i : i + 6] for i in range(0, len(whole), 6)]
    assert len(calls) == 2 * blocks
    text = torch.stack([call[2][0] for call in calls])  # [calls, H, N, T]
    sound = torch.stack([call[4][0] for call in calls])  # [calls, H, N, L]
    gaze = torch.stack([call[5][0] for call in calls])  # [calls, H, L, N]
    words = text[..., 1:5]
    close = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(gathered.words.double(), words.mean((0, 1)).T, **close)
    moments = sound.mean((0, 1)).T * sound.shape[-1]
    torch.testing.assert_close(gathered.moments.double(), moments, **close)
    looks = (gaze.mean(2) * gaze.shape[-1]).unflatten(0, (2, blocks))  # [steps, blocks, H, N]
    shares = words.sum(-1).unflatten(0, (2, blocks))
    for kind, maps in (("text", shares), ("sound", looks)):
        means = gathered.means[kind]
        torch.testing.assert_close(means.along("all")[0].double(), maps.mean((0, 1, 2)), **close)
        torch.testing.assert_close(means.along("step").double(), maps.mean((1, 2)), **close)
        torch.testing.assert_close(means.along("block").double(), maps.mean((0, 2)), **close)
        torch.testing.assert_close(means.along("head").double(), maps.mean((0, 1)), **close)


@pytest.mark.parametrize("rope", ["split", "interleaved"])
def test_what_a_head_writes_is_its_share_of_the_output(
    rope: str, whole: list[tuple[Tensor, Tensor]]
) -> None:
    torch.manual_seed(0)
    heads, width, queries, keys = 2, 8, 7, 5
    attn = LTX2Attention(
        query_dim=16,
        heads=heads,
        kv_heads=heads,
        dim_head=width,
        cross_attention_dim=12,
        rope_type=rope,
        apply_gated_attention=True,
    )

    def rotary(count: int) -> tuple[Tensor, Tensor]:
        shape = (1, heads, count, width // 2) if rope == "split" else (1, count, heads * width)
        angle = torch.randn(shape)
        return angle.cos(), angle.sin()

    own, others = torch.randn(1, queries, 16), torch.randn(1, keys, 12)
    given = {"query_rotary_emb": rotary(queries), "key_rotary_emb": rotary(keys)}
    with torch.no_grad():
        output = attn(own, encoder_hidden_states=others, **given)[0].double()
        looked = Attention(attn, own, others, **given)
        probabilities, lengths = looked.over_queries(lambda p: p)
    ((expected, values),) = whole
    torch.testing.assert_close(probabilities.double(), expected, rtol=1e-4, atol=1e-6)
    weight = attn.to_out[0].weight.detach().double().unflatten(1, (heads, width))
    parts = torch.einsum(
        "ohd,hq,hqd->hqo", weight, looked.gates.double(), expected @ values
    )  # of each head
    torch.testing.assert_close(
        parts.sum(0) + attn.to_out[0].bias.double(), output, rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(lengths.double(), parts.norm(dim=-1), rtol=1e-4, atol=1e-6)


def test_few_queries_at_a_time_give_the_same(
    editor: LTX2Editor, conditioning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = gather(editor, conditioning)
    monkeypatch.setattr(attention, "CHUNK_BYTES", 200)  # of one query's probabilities or less
    one_by_one = gather(editor, conditioning)
    torch.testing.assert_close(one_by_one.words, at_once.words)
    torch.testing.assert_close(one_by_one.moments, at_once.moments)
    for kind, means in at_once.means.items():
        torch.testing.assert_close(one_by_one.means[kind].along("head"), means.along("head"))


def test_the_render_is_the_same_and_nothing_is_left_behind(
    model_folder: Any, conditioning: Any
) -> None:
    levers = LTX2Levers(compile=True, compile_backend="eager", cuda_graphs=False)
    editor = LTX2Editor(model_folder, device="cpu", levers=levers)
    editor.texts.encode(PROMPT)
    sampling, start = Sampling(num_inference_steps=2, grad_steps=1), editor.start(conditioning)
    with gathering(editor, [[1]]) as gathered:
        assert not editor.levers.compile
        looked = editor.render(conditioning, start, sampling=sampling)
    assert gathered.words.shape[0] == 1
    assert editor.levers == levers
    before, hooks = (
        gathered.words.clone(),
        [hook for module in editor.transformer.modules() for hook in module._forward_pre_hooks],
    )
    assert not hooks
    plain = LTX2Editor(model_folder, device="cpu")
    assert torch.equal(plain.render(conditioning, start, sampling=sampling), looked)
    assert torch.equal(gathered.words, before)


def test_only_the_conditional_pass_of_a_guided_render_counts(
    editor: LTX2Editor, conditioning: Any
) -> None:
    guided = gather(editor, conditioning, steps=1, guidance=GUIDED)
    plain = gather(editor, conditioning, steps=1)  # its one step starts from the same noise
    for kind, means in plain.means.items():
        assert torch.equal(guided.means[kind].along("head"), means.along("head"))
    several = gather(editor, conditioning, steps=3, guidance=GUIDED)
    assert several.means["text"].along("step").shape[0] == 3
