"""The held-out tasks."""

from pathlib import Path

import av
import pytest

from sparks.errors import SparksError
from sparks.media import read_clip
from sparks.pocket import measure, tasks
from sparks.pocket.words import MOVING, understand


def test_ten_tasks_of_a_seed_that_stays() -> None:
    assert tasks.SEED == 20261123
    known = tasks.tasks()
    assert [task.name for task in known] == [
        *("00-jump", "01-slide-left", "02-slide-right", "03-grow", "04-spin", "05-blink"),
        *("06-jump", "07-slide-left", "08-slide-right", "09-grow"),
    ]
    assert {task.action for task in known} == set(MOVING)
    assert known[0].prompt == "a yellow triangle jumps"
    assert known[9].prompt == "a blue ball grows"


def test_prompts_fit_their_clips() -> None:
    for task in tasks.tasks():
        scene = task.scene()
        assert scene.prompts() == [task.static_prompt]
        assert scene.acting(task.action).prompts() == [task.prompt]
        assert understand(task.prompt).action == task.action
        assert understand(task.static_prompt).action == "stay"


def test_sources_are_videos_of_nothing_happening(tmp_path: Path) -> None:
    for task in tasks.tasks():
        path = task.write_source(tmp_path)
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert container.streams.audio[0].codec_context.name == "aac"
        frames = read_clip(path).frames[None]
        assert measure.judge(frames, [task.static_prompt]).happened
        assert not measure.judge(frames, [task.prompt]).happened


def test_tasks_are_found_by_name() -> None:
    assert tasks.find_task("03-grow") == tasks.tasks()[3]
    assert tasks.default_task() in tasks.tasks()
    with pytest.raises(SparksError, match="task 'fly' is unknown: choose from 00-jump"):
        tasks.find_task("fly")
