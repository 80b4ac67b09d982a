from pathlib import Path

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
from sparks.settings.yaml import presets, read_settings
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
