"""Each notebook's .ipynb has the cells of its .py, and no outputs."""

import json

import pytest
import small_runs

jupytext = pytest.importorskip("jupytext")

FOLDER = small_runs.ROOT / "notebooks"
NAMES = sorted({path.stem for path in FOLDER.iterdir() if path.suffix in (".py", ".ipynb")})


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_the_cells_of_its_text_and_no_outputs(name):
    text = jupytext.read(FOLDER / f"{name}.py")
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert cells == [(cell.cell_type, cell.source) for cell in text.cells], (
        "Bring them into step: jupytext --sync notebooks/*.py"
    )
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), "Remove them: see notebooks/README.md"
        assert not cell.get("execution_count")
    assert notebook["metadata"].keys() == {"jupytext", "kernelspec"}
