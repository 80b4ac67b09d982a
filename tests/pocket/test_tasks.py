"""The held-out tasks."""

from pathlib import Path

import av
import pytest
import torch

from sparks.errors import SparksError
from sparks.experiments.tasks import Task, first_seed, task_list
from sparks.media.clip import read_clip
from sparks.pocket import measure, tasks
from sparks.pocket.words import MOVING, understand


def test_ten_tasks_of_a_seed_that_stays() -> None:
    assert tasks.SEED == 20261123
    known = task_list("heldout10")
    assert [task.name for task in known] == [
        *("00-jump", "01-slide-left", "02-slide-right", "03-grow", "04-spin"),
        *("05-blink", "06-open", "07-wave", "08-fall", "09-jump-spin"),
    ]
    assert {task.action for task in known} == set(MOVING)
    assert known[0].prompt == "a green triangle jumps"
    assert known[9].prompt == "a blue cross jumps and then spins"


def test_prompts_fit_their_clips() -> None:
    for task in [*task_list("heldout10"), *task_list("pocket25"), *task_list("test40")]:
        scene = task.source.scene()
        assert scene.prompts() == [task.static_prompt]
        assert scene.acting(task.action).prompts() == [task.prompt]
        assert understand(task.static_prompt).action == task.source.action != task.action


def test_the_list_of_25_is_what_its_seed_draws() -> None:
    assert task_list("pocket25") == list(map(Task.of, tasks.draw_list()))
    assert task_list("pocket12") == task_list("pocket25")[:12]
    assert task_list("heldout10") == list(map(Task.of, tasks.held_out()))
    for count, idle in ((12, 6), (25, 13)):
        listed = task_list("pocket25")[:count]
        assert {task.action for task in listed} == set(MOVING)
        assert sum(task.source.action == "stay" for task in listed) == idle
    assert sum(task.source.silent for task in tasks.draw_list()) == 2


@pytest.mark.parametrize("half", tasks.HALVES)
def test_the_halves_are_what_their_seeds_draw(half: str) -> None:
    drawn = list(map(Task.of, tasks.draw_list(40, tasks.HALVES[half])))
    assert task_list(half) == drawn
    assert task_list(half[:-2] + "10") == drawn[:10]
    actions = [task.action for task in drawn]
    assert actions == [*MOVING] * 4
    assert sum(task.source.action == "stay" for task in drawn) == 20


def test_the_halves_share_neither_scenes_nor_noise() -> None:
    assert (tasks.DEV_SEED, tasks.TEST_SEED) == (20280117, 20290423)
    assert (first_seed("dev40"), first_seed("test40"), first_seed("test10")) == (3001, 5001, 5001)
    assert first_seed("pocket12") is first_seed("heldout10") is None
    seeds = {task.source.seed for half in tasks.HALVES for task in task_list(half)}
    assert seeds == {tasks.DEV_SEED, tasks.TEST_SEED}


def test_a_list_of_ones_own_may_name_its_first_seed(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("{seed: 7, tasks: [{name: cat, source: cat.mp4, prompt: the cat jumps}]}")
    assert first_seed(str(own)) == 7
    assert [task.name for task in task_list(str(own))] == ["cat"]
    own.write_text("{seed: x, tasks: []}")
    with pytest.raises(SparksError, match="seed='x' is no seed"):
        first_seed(str(own))


def test_the_sources_of_the_list_show_what_they_say() -> None:
    listed = tasks.draw_list()
    clips = [task.source.clip() for task in listed]
    assert [clip.waveform is None for clip in clips] == [task.source.silent for task in listed]
    frames = torch.stack([clip.frames for clip in clips])
    assert measure.judge(frames, [str(task.static_prompt) for task in listed]).happened.all()
    assert not measure.judge(frames, [task.prompt for task in listed]).happened.any()


def test_lists_of_ones_own_videos(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("tasks: [{name: cat, source: cat.mp4, prompt: the cat jumps}]")
    task = task_list(str(own))[0]
    assert task.write_source(tmp_path) == tmp_path / "cat.mp4"
    assert task.settings(tmp_path / "cat.mp4") == {
        "video": str(tmp_path / "cat.mp4"),
        "prompt": "the cat jumps",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: []", "no tasks"),
        ("tasks: [{name: a, source: a.mp4, prompt: b}, {name: a, source: c.mp4, prompt: d}]", "a"),
        ("tasks: [{name: a/b, source: a.mp4, prompt: b}]", "tasks.0.name='a/b'"),
        ("tasks: [{name: a, source: a.mp4}]", "tasks.0.prompt"),
        ("tasks: [{name: a, source: a.mp4, prompt: b, k: 3}]", "tasks.0.k=3"),
        ("cats: 3", "tasks=None"),
        ("tasks: [{name: a, source: a.mp4, prompt: ''}]", r"tasks\.0\.prompt=''"),
        ("tasks: [{name: a, source: a.mp4, prompt: b, prefix_frames: -1}]", "prefix_frames=-1"),
        ("tasks: [{name: a, source: a.mp4, prompt: b, prefix_frames: true}]", "frames=True is not"),
        ("tasks: [{name: a, source: a.mp4, prompt: b, prefix_frames: 5.0}]", "frames=5.0 is not"),
        (f"tasks: [{{name: {'a' * 101}, source: a.mp4, prompt: b}}]", "at most 100"),
        *(
            (f"tasks: [{{name: a, source: {{{source}}}, prompt: b}}]", message)
            for source, message in (
                ("seed: 7, count: 0, index: 0", "no scene 0 of 0"),
                ("seed: 7, count: 5, index: 5", "no scene 5 of 5"),
                ("seed: 7, count: 5, index: -1", "no scene -1 of 5"),
                ("seed: -1, count: 5, index: 1", "from seed -1"),
                ("seed: 18446744073709551616, count: 5, index: 1", "from seed 184"),
                ("seed: 7, count: 100000000000, index: 1", "of 100000000000"),
                ("seed: 7, count: 5, index: 1, action: dance", "no action 'dance'; give stay"),
                ("seed: 7, count: 5, index: 1, silent: 1", "silent=1 is not usable: give true"),
                ("seed: true, count: 5, index: 1", "seed=True is not usable"),
            )
        ),
    ],
)
def test_a_wrong_list_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SparksError, match=message) as error:
        task_list(str(tmp_path / "own.yaml"))
    assert "\n" not in str(error.value)


def test_an_unknown_list_names_the_known_ones() -> None:
    with pytest.raises(SparksError, match="no tasks 'pocket13'; give pocket12, pocket25, dev10, "):
        task_list("pocket13")


def test_sources_are_videos_of_nothing_happening(tmp_path: Path) -> None:
    for task in task_list("heldout10"):
        path = task.write_source(tmp_path)
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert container.streams.audio[0].codec_context.name == "aac"
        frames = read_clip(path).frames[None]
        assert measure.judge(frames, [task.static_prompt]).happened
        assert not measure.judge(frames, [task.prompt]).happened


def test_tasks_are_found_by_name() -> None:
    assert tasks.find_task("03-grow") == tasks.held_out()[3]
    for name in tasks.LISTS:
        (listed, *_) = task_list(name)
        assert Task.of(tasks.find_task(f"{name}/{listed.name}")) == listed
    with pytest.raises(SparksError, match="list 'dev' is unknown: choose from heldout10, pocket25"):
        tasks.find_task("dev/00-jump")
    assert tasks.default_task() in tasks.held_out()
    with pytest.raises(SparksError, match="task 'fly' is unknown: choose from 00-jump"):
        tasks.find_task("fly")
