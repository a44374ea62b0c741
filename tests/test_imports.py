"""The order of the packages, read from the import statements of every module."""

import ast
import graphlib
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
import small_runs

ROOT = pathlib.Path(__file__).parents[1]

# Each part imports only its own modules and parts of earlier lines, not other parts of its line.
ORDER = {
    "vgg_jax": (
        ("errors", "base_config", "counted", "safe_text"),
        ("web_page",),
        ("storage",),
        ("system", "plots"),
        ("nets",),
        ("data",),
        ("runs",),
        ("foreign",),
        ("training", "evaluation"),
        ("analysis", "export", "transfer", "run_report"),
        ("config", "next_steps", "not_learned", "verify"),
        ("main", "predict", "fuse", "describe", "weights", "features", "report"),
        ("__main__",),
    ),
    "launch": (
        ("plan",),
        ("backends", "report"),
        ("sweep", "tables", "benchmark"),
        ("__main__",),
    ),
}


def _modules(top):
    """Returns {full name: path} of every module of a package."""
    paths = sorted((ROOT / top).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return dict(zip((name.removesuffix(".__init__") for name in names), paths, strict=True))


def _imported(path):
    """Yields the full names that a module's import statements, at any place in it, may mean."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:  # A package's attributes would hide the module.
                assert "." in alias.name or alias.name not in ORDER, f"{path} imports {alias.name}"
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part(name):
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("top", ORDER)
def test_each_package_imports_what_stands_below_it_alone(top):
    floors = {part: floor for floor, parts in enumerate(ORDER[top]) for part in parts}
    parts = {_part(name) for name in _modules(top)}
    assert parts - {""} == {*floors}, "ORDER must name every package and module"
    upwards = [
        f"{name} imports {imported}"
        for name, path in _modules(top).items()
        for imported in _imported(path)
        if name != top and imported.startswith(f"{top}.") and _part(imported) in floors
        and _part(imported) != _part(name)
        and floors[_part(imported)] >= floors[_part(name)]
    ]  # fmt: skip
    assert upwards == []


@pytest.mark.parametrize("top", ORDER)
def test_no_modules_import_one_another_in_a_circle(top):
    modules = _modules(top)
    graph = {
        name: {imported for imported in _imported(path) if imported in modules} - {name, top}
        for name, path in modules.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_the_library_imports_nothing_of_launch():
    for path in _modules("vgg_jax").values():
        assert not [name for name in _imported(path) if name.split(".")[0] == "launch"]


def _distribution(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_top_level_package_is_looked_up_but_the_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = list(project["dependencies"])
    for extra in ("gcs", "weights", "svm"):
        required += project["optional-dependencies"][extra]
    known = {_distribution(re.match(r"[\w.-]+", line)[0]) for line in required}
    distributions = importlib.metadata.packages_distributions()
    for name, path in _modules("vgg_jax").items():
        # Imports of computed names aren't seen here.
        if name != "vgg_jax.system.by_name":  # It imports the modules that a config names.
            assert "import_module" not in path.read_text(), name
        assert "__import__" not in path.read_text()
        if name != "vgg_jax.runs.config_files":  # It loads config files by their path.
            assert "spec_from_file_location" not in path.read_text()
        for top in {imported.split(".")[0] for imported in _imported(path)}:
            if top == "vgg_jax" or top in sys.stdlib_module_names:
                continue
            # An extra's packages needn't be installed.
            found = distributions.get(top, ["scikit-learn" if top == "sklearn" else top])
            assert known & {_distribution(d) for d in found}, f"{name}: {top}"


@pytest.mark.runs
def test_a_folder_configs_where_one_works_is_not_imported(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/__init__.py").write_text("raise RuntimeError('not ours')\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vgg_jax.main"),
            f"--config={ROOT}/configs/quickstart.py",
            "--config.init_from=absent",
        ],
        cwd=tmp_path,
        env=small_runs.environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: This run starts from runs/absent, where there is no run.")


@pytest.mark.runs
def test_jax_is_imported_only_once_the_config_has_passed_its_checks(folder, tmp_path):
    def imported(*given):
        done = small_runs.run_python(
            *("-X", "importtime", "-m", "vgg_jax.main"),
            *small_runs.one_epoch(folder, tmp_path / "run", *given),
        )
        assert done.returncode == 2, done.stderr
        lines = done.stderr.splitlines()
        (error,) = (line for line in lines if line.startswith("error: "))
        return error, {line.rpartition("|")[2].strip() for line in lines}

    error, modules = imported("--config.dropout=1")
    assert "dropout=1.0" in error
    late = {"jax", "grain", "orbax", "tensorflow_datasets", "matplotlib", "tensorboardX"}
    assert not late & modules
    # The same check sees the imports of a run that goes on to its images and devices.
    error, modules = imported("--config.batch_size=3000")
    assert "batch_size=3000 is more than" in error
    assert {"jax", "grain"} <= modules
