"""Tuned controls of many runs: distances, neighbours, and `sparks map`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparks.editors.controls import Controls, controls_metadata, load_controls, save_controls
from sparks.insight import embedding
from sparks.insight.neighbours import (
    apart,
    cosine_distances,
    gram,
    grouping,
    pairs,
    same_nearest,
    silhouettes,
)
from tests.workplace import CRITIC, Sparks

COLOURS = ("red", "blue")


def test_distances_are_cosines_and_pairs_come_in_their_order() -> None:
    vectors = [np.array(v, "float32") for v in ([1, 0], [2, 0], [0, 3], [-1, 0])]
    distances = cosine_distances(gram(vectors))
    expected = [[0, 0, 1, 2], [0, 0, 1, 2], [1, 1, 0, 1], [2, 2, 1, 0]]
    np.testing.assert_allclose(distances, expected, atol=1e-12)
    near, far = pairs(distances, 2)
    assert near[0] == (0, 1)
    assert far == [(1, 3), (0, 3)]


def test_runs_of_a_task_or_a_seed_are_no_neighbours() -> None:
    tasks, seeds = ["a", "a", "b", "b"], [1, 2, 1, 2]
    assert apart(tasks, seeds).tolist() == [[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    assert apart(tasks, [1, 1, 1, 1]).tolist() == apart(tasks).tolist()  # nobody would be left


def test_accuracy_and_silhouette_by_hand() -> None:
    line = np.array([0.0, 1, 3, 4])
    distances, labels = np.abs(line[:, None] - line), ["x", "x", "y", "x"]
    away = apart(range(4))
    assert same_nearest(distances, labels, away).tolist() == [1, 1, 0, 0]
    values = silhouettes(distances, labels, away)
    # Of the first: a = (1 + 4) / 2, b = 3.
    assert values[0] == pytest.approx((3 - 2.5) / 3)
    assert np.isnan(values[2])  # alone with its label


def test_labels_that_group_are_told_from_those_that_do_not() -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(4)[np.repeat(np.arange(4), 6)]
    tasks = [f"task {i // 2}" for i in range(24)]  # of two seeds
    distances = cosine_distances(gram(list(centres + 0.2 * rng.standard_normal((24, 4)))))
    groups = [str(i // 6) for i in range(24)]
    found = grouping(distances, groups, tasks, apart(tasks), shuffles=400)
    assert found["accuracy"].found.mean > 0.9
    assert found["accuracy"].p < 0.01
    assert found["silhouette"].found.low > found["silhouette"].high
    other = [str(i // 2 % 3) for i in range(24)]
    blind = grouping(distances, other, tasks, apart(tasks), shuffles=400)
    assert blind["accuracy"].p > 0.05
    assert blind["accuracy"].low <= blind["accuracy"].found.mean <= blind["accuracy"].high


def test_shuffles_weigh_tasks_alike_whatever_their_number_of_seeds() -> None:
    line = np.array([0, 1, 1.1, 1.2, 5])
    distances, tasks, labels = np.abs(line[:, None] - line), [*"abbbc"], [*"xxxxy"]
    found = grouping(distances, labels, tasks, apart(tasks), shuffles=400)["accuracy"]
    # The labels as they are group best of the three ways to give them: of a and b all, of c none.
    assert found.found.mean == pytest.approx(2 / 3)
    assert found.high == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def many(workplace: Path) -> Path:
    return workplace / "many"


@pytest.fixture
def runs(sparks: Sparks, workplace: Path, many: Path) -> Path:
    """One edit, and eight folders like it whose sound goes one of two ways."""
    if many.exists():
        return many
    given = ("--prompt", "a red ball jumps", "--config", "settings.yaml", *CRITIC)
    code, _, err = sparks("solve", "own.mp4", *given, "--output", "first")
    assert code == 0, err
    controls = load_controls("first/best.safetensors")
    made = controls_metadata("first/best.safetensors")
    torch.manual_seed(0)
    for number in range(8):
        folder = many / f"<b>{number}"
        shutil.copytree("first", folder)
        way = torch.randn(controls.alpha.shape, generator=torch.Generator().manual_seed(number % 2))
        alpha = way + 0.3 * torch.randn_like(way)
        delta_v = torch.randn_like(controls.delta_v)
        told = {"prompt": f"a {COLOURS[number % 2]} ball jumps", "index": str(number)}
        source = {"source": json.dumps({"name": "own.mp4", "sha256": str(number)})}
        told["seeds"] = json.dumps({"noise": number, "search": number})
        save_controls(folder / "best.safetensors", Controls(alpha, delta_v), made | told | source)
    return many


def test_a_map_shows_all_runs_by_any_field(sparks: Sparks, runs: Path, tmp_path: Path) -> None:
    place = tmp_path / "map"
    options = ("--colour", "colour", "--pairs", "2", "--output", str(place), "--json")
    code, out, err = sparks("map", "many", *options)
    assert code == 0, err
    result = json.loads(out)
    assert (result["runs"], result["colour"]) == (8, "colour")
    titles = [(each["of"], each["method"]) for each in result["maps"]]
    assert titles == [(of, by) for of in ("alpha", "delta_v") for by in ("pca", "tsne")]
    first = result["maps"][0]
    assert len(first["places"]) == 8
    for pair in first["nearest"]:
        assert len({int(name.rpartition(">")[2]) % 2 for name in pair["runs"]}) == 1
    assert result["grouping"]["alpha"]["accuracy"]["found"]["mean"] == 1
    assert result["grouping"]["delta_v"]["accuracy"]["p"] > 0.05
    sides = np.array([place[0] for place in first["places"].values()]) > 0
    assert set(sides[::2]) != set(sides[1::2])  # PCA puts them apart
    assert np.asarray(Image.open(place / "map.png")).std() > 5


def test_the_page_needs_nothing_else_and_nothing_of_a_run_is_markup(
    sparks: Sparks, runs: Path, tmp_path: Path
) -> None:
    code, _, err = sparks("map", "many", "--method", "pca", "--output", str(tmp_path / "page"))
    assert code == 0, err
    text = (tmp_path / "page" / "index.html").read_text()
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<b>" not in text
    data = text.split('id="data">')[1].split("</script>")[0]
    content = json.loads(data)
    assert [run["fields"]["seeds.search"] for run in content["runs"]] == list(range(8))
    assert content["runs"][0]["picture"].startswith("data:image/jpeg;base64,")
    assert "seeds.noise" in content["fields"]
    assert "model" not in content["fields"]  # they all have the same


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--colour", "smell"), "prompt"),
        (("--of", "beta"), "delta_v"),
        (("--method", "isomap"), "umap"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    sparks: Sparks, runs: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = sparks("map", "many", *arguments, "--output", str(tmp_path / "none"))
    assert code == 2
    assert said in err.splitlines()[-1]
    assert not (tmp_path / "none").exists()


def test_too_few_runs_and_other_shapes_are_told(sparks: Sparks, runs: Path, tmp_path: Path) -> None:
    assert "needs three" in sparks("map", "first")[2]
    assert not list(Path("runs").glob("*-map"))  # nothing is made for what is refused
    assert "no finished run" in sparks("map", str(tmp_path))[2]
    odd = tmp_path / "odd"
    shutil.copytree(next(runs.iterdir()), odd)
    made = controls_metadata(odd / "best.safetensors")
    other = Controls(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3))
    save_controls(odd / "best.safetensors", other, made)
    code, _, err = sparks("map", "many", str(odd))
    assert code == 2
    assert "24 in" in err


def test_a_missing_library_is_named_with_its_extra(
    sparks: Sparks, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    for method, extra in (("tsne", "insight"), ("umap", "umap")):
        code, _, err = sparks("map", "many", "--method", method)
        assert code == 2
        assert f"sound-sparks[{extra}]" in err
