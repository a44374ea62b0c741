"""Writes the report of a sweep as files."""

from launch.plan.sweep_spec import Sweep
from launch.report import content, html_page, markdown
from vgg_jax.storage import files
from vgg_jax.storage.files import Path


def write(sweep: Sweep) -> tuple[Path, Path]:
    """Writes the report of a sweep into its root; returns the paths of the Markdown and HTML files.

    Raises:
      UserError: The images, labels or classes of the evaluations differ, or images have no labels.
    """
    made = content.make(sweep)
    written = sweep.root / "tables.md", sweep.root / "tables.html"
    for path, text in zip(written, (markdown.write(made), html_page.write(made)), strict=True):
        files.write_text(path, text)
    return written
