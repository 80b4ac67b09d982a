"""HTML pages that need nothing but themselves: readable from `file://`, in light and in dark.

The functions give strings of HTML; what they are given is text, and is escaped. Links are relative
to the page, so a folder with its page can be moved or zipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --soft: #6b6b70; --line: #d9d9de;
  --paper: #fdfdfb; --raised: #f2f2ee; --accent: #0b61a4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --soft: #9a9aa0; --line: #3a3a3f;
  --paper: #161618; --raised: #212124; --accent: #7ab8ea; } }
body { margin: 0 auto; padding: 2rem 1.5rem 5rem; max-width: 84rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { margin-top: 2.8rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
p, pre { max-width: 48rem; }
pre { background: var(--raised); padding: .7rem 1rem; overflow-x: auto; border-radius: 6px;
  white-space: pre-wrap; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
.words { text-align: left; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
img.plot { max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
.row { margin: 1.4rem 0; }
.row > h3 { margin: 0 0 .4rem; font-size: 1rem; }
.row > div { display: flex; flex-wrap: wrap; gap: .7rem; }
figure { margin: 0; width: 11rem; }
.large figure { flex: 1 1 17rem; width: auto; max-width: 40rem; }
figure video { width: 100%; display: block; border-radius: 4px; background: var(--raised);
  cursor: pointer; }
figure video.small { image-rendering: pixelated; }
figcaption { font-size: .8rem; line-height: 1.35; margin-top: .25rem; white-space: pre-line; }
"""
# The videos of a row run together while they are in sight; a click stops and starts the row.
SCRIPT = """
const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
for (const row of document.querySelectorAll('.row')) {
  const videos = [...row.querySelectorAll('video')];
  const stop = () => videos.forEach(v => v.pause());
  const start = () => videos.forEach(v => { v.currentTime = 0; v.play().catch(() => {}); });
  let wanted = !still;
  for (const v of videos) {
    v.onclick = () => { wanted = v.paused; wanted ? start() : stop(); };
    const mark = () => v.classList.toggle('small', v.videoWidth < 200);
    v.readyState ? mark() : v.onloadedmetadata = mark;
  }
  new IntersectionObserver(([seen]) => seen.isIntersecting && wanted ? start() : stop(),
    { threshold: .25 }).observe(row);
}
"""


_MARK = '<meta name="generator" content="sparks">'


def is_page(path: Path) -> bool:
    """Whether a page may be written to `path`: nothing is there, or one that was made here."""
    if not path.exists():
        return True
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return _MARK in text or STYLE in text


def page(title: str, *sections: str) -> str:
    """A whole document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{_MARK}<style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(sections)
        + f"\n<script>{SCRIPT}</script>\n</body></html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """Parts under a heading."""
    return f"<section><h2>{escape(heading)}</h2>\n" + "\n".join(parts) + "\n</section>"


def paragraph(text: str) -> str:
    """Plain text."""
    return f"<p>{escape(text)}</p>"


def code(text: str) -> str:
    """Commands or settings, line by line."""
    return f"<pre>{escape(text)}</pre>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Cells of text, the first `words` columns to the left and the others to the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = [' class="words"' if column < words else "" for column in range(len(cells))]
        marked = zip(sides, map(escape, cells), strict=True)
        return "<tr>" + "".join(f"<{tag}{s}>{cell}</{tag}>" for s, cell in marked) + "</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return (
        f'<div class="wide"><table><thead>{line("th", header)}</thead>\n<tbody>{body}</tbody>'
        "</table></div>"
    )


def image(path: str, alt: str) -> str:
    """A picture beside the page."""
    return f'<p><img class="plot" src="{quote(path)}" alt="{escape(alt)}"></p>'


def video_row(heading: str, videos: Mapping[str, str], *, large: bool = False) -> str:
    """Videos beside the page that run together, by caption (line breaks are kept).

    With `large`, they share the width of the page instead of being of one small size.
    """
    figures = "\n".join(
        f'<figure><video src="{quote(path)}" muted loop playsinline preload="metadata"></video>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, path in videos.items()
    )
    title = f"<h3>{escape(heading)}</h3>" if heading else ""
    kind = "row large" if large else "row"
    return f'<div class="{kind}">{title}<div>{figures}</div></div>'
