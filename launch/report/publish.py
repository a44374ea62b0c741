"""The report of a sweep, as files."""

from launch.plan.sweep_spec import Sweep
from launch.report import content, html_page, markdown
from vgg_jax.storage import files
from vgg_jax.storage.files import Path


def write(sweep: Sweep) -> tuple[Path, Path]:
    """Writes the report of a sweep into its root, and returns the Markdown and the HTML file.

    Raises:
      UserError: Evaluations are of images, labels or classes that differ.
    """
    made = content.make(sweep)
    written = sweep.root / "tables.md", sweep.root / "tables.html"
    for path, text in zip(written, (markdown.write(made), html_page.write(made)), strict=True):
        files.write_text(path, text)
    return written
