import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparks import registry
from sparks.editors import Guidance, ModalityGuidance
from sparks.errors import SparksError
from sparks.runs.prepare import prepare
from sparks.runs.resolve import check_settings
from sparks.search.objective import Weights
from sparks.settings.construct import construct
from sparks.settings.layers import assignments, merge, recommended
from sparks.settings.schema import Config
from sparks.settings.yaml import parse, presets, read_settings
from sparks.solvers.adam import Adam


def test_defaults_are_the_papers() -> None:
    config = Config()
    assert config.sampling.num_inference_steps == 30
    assert config.sampling.grad_steps == 8
    assert config.objective.weights.latent_alpha == 0.01
    assert config.objective.reduction == "mean"
    assert config.guidance.tuning.video.weights == {}


def test_layers_win_in_order_and_keep_their_neighbours() -> None:
    config = Config.resolve(
        {"sampling": {"num_inference_steps": 8, "grad_steps": 4}, "prefix_frames": 5},
        {"sampling": {"grad_steps": 2}},
        assignments(["guidance.final.video.guidance_scale=2", "window=[0.5, 1.5]"]),
    )
    assert (config.sampling.num_inference_steps, config.sampling.grad_steps) == (8, 2)
    assert config.guidance.final.video.guidance_scale == 2
    assert config.window == (0.5, 1.5)
    assert config.prefix_frames is None  # the later way to say what is regenerated


def test_another_plugin_takes_no_options_of_its_predecessor() -> None:
    merged = merge({"solver": {"name": "adam", "lr": 0.1}}, {"solver": {"name": "other"}})
    assert merged == {"solver": {"name": "other"}}
    merged = merge({"solver": {"name": "adam", "lr": 0.1}}, {"solver": {"patience": 3}})
    assert Config.resolve(merged).solver.options == {"lr": 0.1, "patience": 3}


def test_an_empty_section_takes_nothing_from_below() -> None:
    paper = read_settings("paper")

    def over_paper(*pairs: str) -> Config:
        return Config.resolve(paper, assignments(pairs))

    assert over_paper("guidance.final={}").guidance.final == Guidance()
    assert over_paper("guidance={}").guidance == Config().guidance
    assert over_paper("objective.weights={}").objective.weights == Weights()
    assert over_paper("objective.weights={}").objective.size == (256, 256)
    assert over_paper("solver={}").solver == Config().solver
    assert over_paper("critic={}").critic == Config().critic
    assert over_paper("clip={}").clip.size is None
    assert over_paper("guidance.tuning={}") == over_paper()


def test_what_is_said_of_an_emptied_section_is_all_that_it_has() -> None:
    paper = read_settings("paper")
    scale = "guidance.final.video.guidance_scale=2"
    emptied = assignments(["guidance.final={}", scale])
    only = Guidance(ModalityGuidance(guidance_scale=2))
    # However the layers are grouped.
    for settings in (
        merge(merge(paper, {"guidance": {"final": {}}}), assignments([scale])),
        merge(paper, emptied),
        merge(paper, merge({}, merge({}, emptied))),
        merge({"seed": 3}, merge(paper, emptied)),
    ):
        assert Config.resolve(settings).guidance.final == only
    assert yaml.safe_load(yaml.safe_dump(emptied)) == emptied
    lr = merge({"solver": {"name": "adam", "lr": 0.1}}, assignments(["solver={}", "solver.eps=1"]))
    assert lr["solver"] == {"eps": 1}


@pytest.mark.parametrize(
    ("name", "solver", "space"),
    [
        ("paper", "adam", "full"),
        ("reference", "adam", "full"),
        ("pocket", "hybrid", "temporal"),
    ],
)
def test_presets_are_valid(name: str, solver: str, space: str) -> None:
    assert name in presets()
    config = Config.resolve(read_settings(name))
    assert (config.solver.name, config.space.name) == (solver, space)
    construct("solver", registry.solvers.get(solver), config.solver.options)


def test_presets_differ_where_paper_and_code_do() -> None:
    paper, reference = (Config.resolve(read_settings(name)) for name in ("paper", "reference"))
    assert (paper.sampling.alpha_gradient, reference.sampling.alpha_gradient) == (
        "direct",
        "reference",
    )
    assert (paper.critic.windows, reference.critic.windows) == (1, 3)
    assert reference.critic.options["norm"] == "legacy"


def test_the_papers_final_render_is_guided_as_ltx2s_own_and_its_clips_run_at_25() -> None:
    from diffusers.pipelines.ltx2.utils import DEFAULT_NEGATIVE_PROMPT

    paper = Config.resolve(read_settings("paper"))
    assert paper.negative_prompt == DEFAULT_NEGATIVE_PROMPT
    assert (paper.clip.fps, paper.clip.num_frames, paper.clip.size) == (25, 89, (320, 512))


def test_the_authors_ppo_asks_once_and_has_their_patience() -> None:
    theirs = Config.resolve(read_settings("reference"), read_settings("reference-ppo"))
    assert (theirs.critic.windows, theirs.critic.num_frames) == (1, 8)
    solver = construct("solver", registry.solvers.get("ppo"), theirs.solver.options)
    assert (solver.patience, solver.sigma, solver.batch) == (15, 0.02, 4)


def test_a_dumped_configuration_reads_back(tmp_path: Path) -> None:
    config = Config.resolve(read_settings("reference"), {"solver": {"name": "adam", "lr": 1e-6}})
    (tmp_path / "config.yaml").write_text(config.dump())
    assert Config.resolve(read_settings(tmp_path / "config.yaml")) == config


def test_yaml_numbers_and_words() -> None:
    values = assignments(["a=5e-3", "b=yes", "c=true", "d=-1.5", "e=3", "f=null", "g=[no, 1e2]"])
    expected = {"a": 5e-3, "b": "yes", "c": True, "d": -1.5, "e": 3, "f": None, "g": ["no", 100.0]}
    assert values == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"promt": "x"}, r"unknown setting 'promt'; did you mean 'prompt'\? \(known here: video"),
        ({"sampling": {"steps": 3}}, r"'sampling.steps'.*num_inference_steps"),
        ({"guidance": {"final": {"video": {"cfg": 3}}}}, r"'guidance.final.video.cfg'.*rescale"),
        (
            {"objective": {"weights": {"lpip": 3}}},
            r"'objective.weights.lpip'; did you mean 'lpips'",
        ),
        ({"sampling": {"grad_steps": "all"}}, r"sampling.grad_steps='all' is not usable"),
        ({"sampling": {"grad_steps": 0}}, r"grad_steps is 0"),
        ({"critic": {"sampling": "even"}}, r"critic.sampling='even' is not usable: .*'normal'"),
        ({"sound": "loud"}, r"sound='loud' is not usable: .*'source', 'tuned' or 'none'"),
        ({"clip": 3}, r"clip=3 is no section; give its keys, as clip.size="),
        ({"seed": -1}, r"seed=-1"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(settings: dict, message: str) -> None:
    with pytest.raises(SparksError, match=message) as error:
        Config.resolve(settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("pair", "message"), [("lr", "write key=value"), ("a=[1", "not valid")])
def test_bad_assignments(pair: str, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        assignments([pair])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(SparksError, match="one of distilled, paper, pocket, reference"):
        read_settings(tmp_path / "gone.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(SparksError, match="holds a list"):
        read_settings(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(SparksError, match="not valid YAML"):
        read_settings(tmp_path / "broken.yaml")


def test_a_model_folder_may_recommend(tmp_path: Path) -> None:
    assert recommended(tmp_path) == {}
    (tmp_path / "sparks.yaml").write_text("sampling: {grad_steps: 4}")
    assert recommended(tmp_path) == {"sampling": {"grad_steps": 4}}


def test_plugin_options_are_checked_against_what_it_takes() -> None:
    with pytest.raises(SparksError, match=r"unknown setting 'solver.lrr'; did you mean 'lr'"):
        construct("solver", Adam, {"lrr": 1})
    with pytest.raises(SparksError, match=r"solver refuses"):
        construct("solver", lambda lr: float(lr), {"lr": "fast"})
    assert construct("solver", lambda lr: lr, {"lr": 1}, device="cpu") == 1


def test_options_without_a_solver_are_for_the_one_that_the_model_names() -> None:
    prepared = prepare({"solver": {"sigma": 0.9}, "budget": "qwen_calls=1"})
    assert prepared.solver.sigma == 0.9  # type: ignore[attr-defined]
    for named in ({"name": "adam"}, {"name": "hybrid", "line": -1}):
        with pytest.raises(SparksError):
            check_settings({"solver": {"sigma": 0.9, **named}})
    with pytest.raises(SparksError, match=r"unknown setting 'solver\.sigmaa'"):
        prepare({"solver": {"sigmaa": 0.9}})


def test_the_bundled_model_recommends_the_pocket_preset() -> None:
    from sparks.pocket import weights_path

    assert recommended(weights_path()) == read_settings("pocket")


# A value of each kind, and what it is not.
OTHER_KINDS = {
    "whole number": (["true", "3.0", "3.7", "'3'"], "a whole number|a valid integer|greater than"),
    "number": (["true", "'0.5'"], "a number"),
    "switch": (["1", "0", "1.0", "'true'"], "true or false|a valid boolean"),
}
LEAVES = {
    "whole number": [
        *("seed", "prefix_frames", "clip.num_frames", "sampling.grad_steps", "critic.windows"),
        *("guidance.final.skip_step", "objective.max_pairs", "preview_every", "solver.patience"),
        *("space.rank", "space.seed", "editor.levers.keep_blocks"),
    ],
    "number": [
        *("clip.fps", "guidance.final.video.guidance_scale", "objective.weights.lpips"),
        *("solver.lr", "solver.lr_floor", "space.scale", "screen"),
    ],
    "switch": ["sampling.checkpointing", "editor.levers.two_valued", "space.fade"],
}
ADAM: dict[str, Any] = {"solver": {"name": "adam"}, "space": {"name": "temporal"}}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (key, value, told)
        for kind, keys in LEAVES.items()
        for key in keys
        for values, told in [OTHER_KINDS[kind]]
        for value in values
    ],
)
def test_a_value_of_another_kind_is_refused(key: str, value: str, told: str) -> None:
    for settings in (assignments([f"{key}={value}"]), {"keep": "best", **_of_yaml(key, value)}):
        with pytest.raises(SparksError, match=rf"^{re.escape(key)}(\.\w+)*=.*({told})"):
            check_settings(merge(ADAM, settings))


def _of_yaml(key: str, value: str) -> dict[str, Any]:
    *sections, leaf = key.split(".")
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(sections)]
    return dict(parse("\n".join([*lines, f"{'  ' * len(sections)}{leaf}: {value}"])))


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "-0.5", "-1"])
@pytest.mark.parametrize(
    "key",
    [
        *("guidance.tuning.video.rescale", "guidance.tuning.audio.modality_scale"),
        *("guidance.final.video.guidance_scale", "guidance.final.audio.stg_scale", "clip.fps"),
        *("objective.weights.vlm", "objective.weights.temporal", "screen", "solver.lr"),
        *("solver.lr_floor", "solver.eps", "solver.clip_norm", "solver.min_delta", "space.scale"),
        "editor.levers.activation_budget",
    ],
)
def test_what_is_no_sensible_number_is_refused_before_anything_is_loaded(
    key: str, value: str
) -> None:
    with pytest.raises(SparksError, match=key.rpartition(".")[2]):
        check_settings(merge(ADAM, assignments([f"{key}={value}"])))


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("space.rank=0", r"space\.rank=0"),
        ("space.rnk=1", r"unknown setting 'space\.rnk'; did you mean 'rank'"),
        ("space.mode=none", r"space\.mode='none'"),
        ("space.seed=-1", r"space\.seed=-1"),
        ("space.start=1", r"unknown setting 'space\.start'"),
        ("editor.storage=disk", r"editor\.storage='disk'"),
        ("editor.text_device=moon", r"device 'moon' cannot be used"),
        ("editor.lever.compile=true", r"unknown setting 'editor\.lever'"),
        ("critic.sise=[28, 28]", r"unknown setting 'critic\.sise'; did you mean 'size'"),
        ("critic.size=[0, 0]", r"critic\.size\.0=0"),
        ("critic.norm=none", r"critic\.norm='none'"),
        ("critic.dtype=float8_e5m2", r"dtype is 'float8_e5m2'"),
        ("judge={name: clip, scale: 0}", r"judge\.scale=0"),
        ("window=[0.5, .nan]", r"window=\[0.5, nan\]"),
        ("window=[1.5, 0.5]", r"window=.*START"),
        ("window=[-1, 0.5]", r"window=.*START"),
        ("prefix_frames=-1", r"prefix_frames=-1"),
        ("clip.size=[-32, 48]", r"clip\.size\.0=-32"),
        ("critic={windows: 31, sampling: contiguous}", r"qwen_calls=30 does not pay"),
        ("critic.any=[1, {a: [.nan]}]", r"critic\.any\.1\.a\.0=nan"),
    ],
)
def test_options_of_what_is_loaded_later_are_checked_before(pair: str, told: str) -> None:
    with pytest.raises(SparksError, match=told):
        check_settings(merge(ADAM, assignments([pair])))


def test_values_of_the_right_kind_are_taken() -> None:
    pairs = ["keep=3", "clip.fps=25", "solver.lr=1", "guidance.final.video.guidance_scale=3"]
    config = check_settings(merge(ADAM, assignments(pairs)))
    assert (config.keep, config.clip.fps, config.solver.options) == (3, 25.0, {"lr": 1})
