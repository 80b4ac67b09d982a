"""The interactive page of maps: points that tell what they are, coloured by any field."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparks import page
from sparks.errors import SparksError
from sparks.files import write_text
from sparks.insight.embedding import TITLES

if TYPE_CHECKING:
    from sparks.insight.charting import Chart
    from sparks.insight.tuned import Tuned

_SHOWN = 6  # frames of an edit
_SIDE = 64  # pixels

_STYLE = """<style>
#map { display: grid; grid-template-columns: minmax(0, 1fr) 19rem; gap: 1.2rem; max-width: 72rem; }
#map svg { width: 100%; background: var(--raised); border-radius: 8px; touch-action: none; }
#map circle { stroke: var(--paper); stroke-width: 1; cursor: pointer; }
#map circle.dim { opacity: .12; }
#map circle.on { stroke: var(--ink); stroke-width: 2.5; }
#map line { stroke: var(--soft); stroke-width: 1; }
#map line.far { stroke-dasharray: 2 4; }
#choices { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; margin: 1rem 0; }
#choices select, #choices input { font: inherit; color: inherit; background: var(--raised);
  border: 1px solid var(--line); border-radius: 5px; padding: .15rem .4rem; max-width: 16rem; }
#key span { display: inline-block; margin: 0 .9rem .2rem 0; cursor: pointer; font-size: .87rem; }
#key i { display: inline-block; width: .75em; height: .75em; border-radius: 50%;
  margin-right: .35em; }
#told { font-size: .87rem; min-height: 16rem; overflow-wrap: anywhere; }
#told img { width: 100%; image-rendering: pixelated; border-radius: 4px; margin: .5rem 0; }
#told dt { color: var(--soft); } #told dd { margin: 0 0 .3rem; }
@media (max-width: 50rem) { #map { grid-template-columns: 1fr; } }
</style>"""

_BODY = """<div id="choices">
<label>map <select id="which"></select></label>
<label>colour <select id="field"></select></label>
<label><input type="checkbox" id="near" checked> nearest pairs</label>
<label><input type="checkbox" id="far" checked> farthest pairs</label>
</div><div id="key"></div>
<div id="map"><svg viewBox="0 0 1000 760" role="img" aria-label="map of runs"></svg>
<div id="told">Point at a run. Click to hold it.</div></div>"""

_SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const get = id => document.getElementById(id), svg = document.querySelector('#map svg');
const palette = ['#4477aa','#ee6677','#228833','#ccbb44','#66ccee','#aa3377','#ee8866','#999933',
  '#882255','#44aa99','#7777bb','#bb7744'];
let held = null, only = null;
data.maps.forEach((m, i) => get('which').add(new Option(m.title, i)));
data.fields.forEach(f => get('field').add(new Option(f, f, false, f === data.colour)));
const value = (run, field) => data.runs[run].fields[field];
function paint(field) {
  const values = data.runs.map((_, i) => value(i, field)).filter(v => v !== undefined);
  const numbers = values.every(v => typeof v === 'number');
  const names = [...new Set(values.map(String))].sort();
  const low = Math.min(...values), high = Math.max(...values);
  const of = run => {
    const v = value(run, field);
    if (v === undefined) return '#888';
    if (!numbers) return palette[names.indexOf(String(v)) % palette.length];
    return `hsl(${250 - 210 * (v - low) / (high - low || 1)} 75% 52%)`;
  };
  return {of, names: numbers ? null : names, low, high};
}
function make(name, attributes) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const k in attributes) e.setAttribute(k, attributes[k]);
  return svg.appendChild(e);
}
function draw() {
  const map = data.maps[get('which').value], field = get('field').value, shade = paint(field);
  svg.replaceChildren();
  const xs = map.places.map(p => p[0]), ys = map.places.map(p => p[1]);
  const fit = (v, all, size) => {
    const low = Math.min(...all), high = Math.max(...all);
    return 40 + (v - low) / (high - low || 1) * (size - 80);
  };
  const at = map.places.map(p => [fit(p[0], xs, 1000), 760 - fit(p[1], ys, 760)]);
  for (const kind of ['near', 'far']) if (get(kind).checked)
    for (const [i, j, distance] of map[kind]) {
      const [[x1, y1], [x2, y2]] = [at[i], at[j]];
      const line = make('line', {class: kind, x1, y1, x2, y2});
      const title = document.createElementNS('http://www.w3.org/2000/svg', 'title');
      line.appendChild(title).textContent = 'cosine distance ' + distance.toFixed(3);
    }
  map.runs.forEach((run, i) => {
    const out = only !== null && String(value(run, field)) !== only;
    const dot = make('circle', {cx: at[i][0], cy: at[i][1], r: 9, fill: shade.of(run),
      class: (out ? 'dim ' : '') + (held === run ? 'on' : '')});
    dot.onpointerenter = () => { if (held === null) tell(run); };
    dot.onclick = () => { held = held === run ? null : run; tell(run); draw(); };
  });
  get('key').replaceChildren(...(shade.names || []).map(name => {
    const span = document.createElement('span'), mark = document.createElement('i');
    mark.style.background = palette[shade.names.indexOf(name) % palette.length];
    span.append(mark, name);
    span.style.opacity = only === null || only === name ? 1 : .4;
    span.onclick = () => { only = only === name ? null : name; draw(); };
    return span;
  }));
  if (!shade.names) get('key').textContent =
    `blue ${shade.low.toPrecision(3)} to red ${shade.high.toPrecision(3)}`;
}
function tell(run) {
  const {name, picture, fields} = data.runs[run], list = document.createElement('dl');
  const shown = new Set([get('field').value, ...data.told]);
  for (const key of shown) if (fields[key] !== undefined) {
    const term = document.createElement('dt'), text = document.createElement('dd');
    term.textContent = key;
    text.textContent = typeof fields[key] === 'number' ? +fields[key].toPrecision(4) : fields[key];
    list.append(term, text);
  }
  const heading = document.createElement('b');
  heading.textContent = name;
  const parts = [heading];
  if (picture) parts.push(Object.assign(new Image(), {src: picture, alt: 'frames of the edit'}));
  get('told').replaceChildren(...parts, list);
}
for (const id of ['which', 'near', 'far']) get(id).onchange = draw;
get('field').onchange = () => { only = null; draw(); };
draw();
"""
_TOLD = ("prompt", "config.static_prompt", "scores.p_yes_edited", "happened_edited", "seeds.search")


def write_page(
    path: Path,
    charts: Sequence[Chart],
    runs: Sequence[Tuned],
    colour: str,
    groups: Mapping[str, Mapping[str, Any] | None],
) -> None:
    """Write one HTML file that needs nothing else.

    Args:
        charts: all maps.
        runs: all runs that any map shows.
        colour: the field that is chosen at first.
        groups: of each tensor, how the field groups.
    """
    index = {run.name: number for number, run in enumerate(runs)}
    content = {
        "colour": colour,
        "told": _TOLD,
        "fields": _fields(runs),
        "runs": [
            {"name": run.name, "picture": _picture(run.folder), "fields": dict(run.fields)}
            for run in runs
        ],
        "maps": [_map(each, index) for each in charts],
    }
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    write_text(
        path,
        page.page(
            f"Tuned controls of {len(runs)} runs",
            _STYLE,
            _BODY,
            *_numbers(colour, groups),
            _pairs(charts),
            f'<script type="application/json" id="data">{text}</script>',
            f"<script>{_SCRIPT}</script>",
        ),
    )


def _fields(runs: Sequence[Tuned]) -> list[str]:
    """Those in which runs differ, the settings last."""
    names = {name for run in runs for name in run.fields}
    differ = [n for n in names if len({str(run.fields.get(n)) for run in runs}) > 1]
    return sorted(differ, key=lambda n: (n.startswith(("config.", "settings.")), n))


def _map(chart: Chart, index: Mapping[str, int]) -> dict[str, Any]:
    def measured(chosen: Sequence[tuple[int, int]]) -> list[list[float]]:
        return [[i, j, float(chart.distances[i, j])] for i, j in chosen]

    return {
        "title": f"{chart.what}, {TITLES[chart.method]}",
        "runs": [index[run.name] for run in chart.runs],
        "places": chart.places.tolist(),
        "near": measured(chart.near),
        "far": measured(chart.far),
    }


def _numbers(colour: str, groups: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
    def ranged(mean: float, low: float, high: float) -> str:
        return f"{mean:.2f} [{low:.2f}, {high:.2f}]"

    rows = [
        [
            *(what, name),
            ranged(*(each["found"][key] for key in ("mean", "low", "high"))),
            ranged(each["shuffled"], each["low"], each["high"]),
            f"{each['p']:.4f}",
        ]
        for what, measures in groups.items()
        for name, each in (measures or {}).items()
    ]
    if not rows:
        return []
    about = page.paragraph(
        "Cosine distances in the full space. Neighbours of the same source and prompt, or of the "
        "same seed, do not count, and shuffling moves runs of one prompt together."
    )
    header = ["of", "measure", "found", "labels shuffled", "p"]
    return [page.section(f"Do they group by {colour}?", about, page.table(header, rows, 2))]


def _pairs(charts: Sequence[Chart]) -> str:
    first = {each.what: each for each in reversed(charts)}
    rows = [
        [what, kind, chart.runs[i].name, chart.runs[j].name, f"{chart.distances[i, j]:.3f}"]
        for what, chart in sorted(first.items())
        for kind, chosen in (("nearest", chart.near), ("farthest", chart.far))
        for i, j in chosen
    ]
    header = ["of", "", "run", "and run", "cosine distance"]
    return page.section("Pairs", page.table(header, rows, 4))


def _picture(folder: Path) -> str | None:
    """Frames of the edit as a data URL; None without a video that can be read."""
    from sparks.media.clip import read_clip

    path = folder / "edited.mp4"
    if not path.is_file():
        return None
    try:
        frames = read_clip(path).frames
    except SparksError:
        return None
    import torch
    from PIL import Image

    picks = frames[torch.linspace(0, len(frames) - 1, _SHOWN).round().long()]
    height, width = (round(side * _SIDE / picks.shape[-2]) for side in picks.shape[-2:])
    small = torch.nn.functional.interpolate(picks, (height, width), mode="area")
    strip = torch.cat(list(small), -1).permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray((strip * 255).round().byte().numpy()).save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
