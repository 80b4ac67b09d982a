"""Pages of the site that are made of something else: mkdocs calls this as a hook."""

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the command's own help, and the pages that a repository has at its root."""
    pages = {
        "contributing.md": _at_root("CONTRIBUTING.md"),
        "changelog.md": _at_root("CHANGELOG.md"),
        "reference/command.md": _command(),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def _at_root(name: str) -> str:
    """A page whose links lead into `docs/`."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def _command() -> str:
    typer = [sys.executable, "-m", "typer", "sparks.cli", "utils", "docs", "--name", "sparks"]
    done = subprocess.run(typer, cwd=ROOT, capture_output=True, text=True, check=True)
    text = done.stdout.replace("# `sparks`", "# The command", 1)
    # Its list of commands cuts their first lines off; the table of contents has them all.
    return re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", text)
