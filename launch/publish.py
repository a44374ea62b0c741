"""The report of a sweep, as files."""

from launch import markdown, page, report
from launch.graph import Sweep
from vgg_jax import files
from vgg_jax.files import Path


def write(root: Path) -> tuple[Path, Path]:
    """Writes the report of the last sweep of a root, and returns the Markdown and the HTML file.

    Raises:
      UserError: Evaluations are of images, labels or classes that differ.
    """
    made = report.make(Sweep.load(root))
    written = root / "tables.md", root / "tables.html"
    for path, text in zip(written, (markdown.write(made), page.write(made)), strict=True):
        with files.written_aside(path) as aside:
            aside.write_text(text, encoding="utf-8")
    return written
