"""The graph of the paper's runs, and the tables that it is made from."""

import importlib
import pathlib
import re

import pytest

from launch.plan import graph, paper, preview, selection
from launch.plan.paper import Part, Result
from launch.plan.sweep_spec import Sweep
from launch.plan.task import config_of
from vgg_jax import config
from vgg_jax.errors import UserError
from vgg_jax.runs import config_files

ROOT = pathlib.Path("runs")
# §3.1: A comes first. Deeper nets at S = 256 start from A, S = 384 from 256, [256; 512] from 384.
CHAIN = {
    "a_256": (),
    "a_lrn_256": (),
    "b_256": ("a_256",),
    **{f"{net}_256": ("a_256",) for net in "cde"},
    **{f"{net}_384": (f"{net}_256",) for net in "cde"},
    **{f"{net}_multiscale": (f"{net}_384",) for net in "cde"},
}


def tasks_of(*tables, **how):
    results = [row.result for row in paper.rows(tables) if row.result]
    return graph.tasks(Sweep(ROOT, **how), results)


def flag(task, name):
    (value,) = (a.split("=", 1)[1] for a in task.arguments if a.startswith(f"--{name}="))
    return value


def test_table_3_takes_the_papers_runs_alone():
    tasks = tasks_of(3)
    assert {t.name: t.waits_for for t in tasks if t.kind == "train"} == CHAIN
    evaluations = [t for t in tasks if t.kind == "evaluate"]
    assert {t.name: flag(t, "config.eval.scales") for t in evaluations} == {
        f"{run}-dense": "256" if run.endswith("_256") else "384" for run in CHAIN
    }
    assert len(tasks) == 24


def test_several_tables_share_runs_and_evaluations():
    tasks = tasks_of(3, 4, 5, 6, 7)
    assert len({t.arguments for t in tasks}) == len({t.name for t in tasks}) == len(tasks)
    assert {t.name: t.waits_for for t in tasks if t.kind == "train"} == CHAIN
    jittered = "256,384,512"
    assert {t.name: flag(t, "config.eval.scales") for t in tasks if t.kind == "evaluate"} == {
        "a_256-dense": "256",
        "a_lrn_256-dense": "256",
        **{f"{net}_256-dense": "224,256,288" for net in "bcde"},
        **{f"{net}_384-dense": "352,384,416" for net in "cde"},
        **{f"{net}_multiscale-dense": jittered for net in "cde"},
        **{f"{net}_multiscale-multicrop": jittered for net in "de"},
    }
    two = "d_multiscale+e_multiscale"
    assert {t.name: t.waits_for for t in tasks if t.kind == "fuse"} == {
        "d_256+d_384+d_multiscale+c_256+c_384+e_256+e_384-dense": tuple(
            f"{net}_{s}-dense"
            for net, s in (
                *(("d", 256), ("d", 384), ("d", "multiscale")),
                *(("c", 256), ("c", 384), ("e", 256), ("e", 384)),
            )
        ),
        f"{two}-dense": ("d_multiscale-dense", "e_multiscale-dense"),
        f"{two}-multicrop": ("d_multiscale-multicrop", "e_multiscale-multicrop"),
        f"{two}-both": tuple(f"{n}_multiscale-{m}" for n in "de" for m in ("dense", "multicrop")),
    }


@pytest.mark.parametrize("how", [{}, {"mini": True}, {"seeds": 3, "test_split": "test"}])
def test_every_task_is_a_valid_command_behind_what_it_waits_for(how):
    workdirs = {}
    for task in tasks_of(3, 4, 5, 6, **how):
        assert workdirs.keys() >= {*task.waits_for}
        workdirs[task.name] = task.workdir
        if task.kind == "fuse":
            continue
        c = task.config()
        config.validate(c)
        assert task.workdir.name == c.name
        assert str(task.workdir) == flag(task, "workdir")
        if task.kind == "train":
            assert c.eval.method == "none"  # The graph evaluates it.
            sources = [] if c.init_from == "none" else [task.workdir.parent / c.init_from]
            assert [workdirs[name] for name in task.waits_for] == sources


def test_one_run_and_its_chain():
    tasks = graph.tasks(Sweep(ROOT), selection.of_runs(["e_multiscale"]))
    assert [t.name for t in tasks] == [
        *("a_256", "e_256", "e_384", "e_multiscale"),
        *("e_multiscale-dense", "e_multiscale-multicrop"),
    ]
    outside = graph.tasks(Sweep(ROOT), selection.of_runs(["b_5x5_256"]))
    assert [t.name for t in outside] == ["a_256", "b_5x5_256", "b_5x5_256-dense"]
    assert flag(outside[-1], "config.eval.scales") == "256"


def test_an_unknown_run():
    with pytest.raises(
        UserError, match=r"names no run: f_256\. Did you mean e_256 or d_256\? Choose from a_256, "
    ):
        selection.of_runs(["a_256", "f_256"])


def test_seeds_lie_beside_one_another():
    tasks = tasks_of(3, seeds=2)
    assert len(tasks) == 48
    again = {t.name: t for t in tasks}["seed_1/b_256"]
    assert again.waits_for == ("seed_1/a_256",)
    assert again.workdir == ROOT / "seed_1/b_256"
    assert flag(again, "config.seed") == "1"
    assert tasks[:24] == tasks_of(3)  # The first seed's tasks stay as they are.


def test_other_images():
    (task, *_) = tasks_of(3, data="photos")
    c = task.config()
    assert (c.data.name, c.data.dir) == ("folder", "photos")
    assert (c.num_classes, c.data.mean_rgb) == (0, ("auto",))


def test_overrides_are_every_runs():
    for task in tasks_of(6, mini=True, overrides=("--config.num_epochs=3",)):
        if task.kind != "fuse":
            assert task.config().num_epochs == 3


def test_a_setting_of_the_evaluation_names_its_files():
    tasks = tasks_of(6, overrides=("--config.eval.pooling=ceil",))
    assert all(t.result.stem.endswith("-ceil") for t in tasks if t.kind != "train")
    assert all(flag(t, "variant") == "ceil" for t in tasks if t.kind == "fuse")


def test_the_test_split_is_for_tables_6_and_7():
    extra = tasks_of(3, 4, 5, 6, test_split="test")[len(tasks_of(3, 4, 5, 6)) :]
    assert {t.name for t in extra if t.kind == "evaluate"} == {
        *(f"{net}_{s}-dense-test" for net in "cde" for s in (256, 384)),
        *(f"{n}_multiscale-{m}-test" for n in "de" for m in ("dense", "multicrop")),
    }
    assert all("test-" in t.result.name for t in extra)


def test_a_sweep_is_known_to_its_root(tmp_path):
    assert Sweep.load(tmp_path) == Sweep(tmp_path)
    sweep = Sweep(tmp_path, True, "photos", 2, ("--config.num_epochs=3",), "test")
    sweep.save()
    assert Sweep.load(tmp_path) == sweep


def test_a_part_made_again_takes_nothing_from_the_report(tmp_path):
    Sweep(tmp_path, True, seeds=3, test_split="test").save()
    again = Sweep(tmp_path, True, overrides=("--config.num_epochs=3",)).with_saved()
    assert (again.seeds, again.test_split) == (3, "test")
    assert again.overrides == ("--config.num_epochs=3",)
    with pytest.raises(UserError, match=r"with --mini\. Choose another --root"):
        Sweep(tmp_path).with_saved()


@pytest.mark.parametrize("key", ["seed=7", "init_from=none", "eval.scales=256", "train_scale=9,9"])
def test_what_the_sweep_sets_is_not_overridden(key):
    with pytest.raises(UserError, match=r"the sweep sets .* itself, for each run"):
        tasks_of(3, overrides=(f"--config.{key}",))


def test_the_test_split_is_another():
    with pytest.raises(UserError, match="--test_split=validation is the split that the runs"):
        tasks_of(6, test_split="validation")


def test_the_picture_names_every_task_once():
    tasks = tasks_of(3, 4, 5, 6)
    lines = preview.picture(tasks).splitlines()
    assert sorted(re.match(r"[│├└─ ]*(\S+)", line)[1] for line in lines) == sorted(
        t.name for t in tasks
    )


# The tables.


@pytest.mark.parametrize("run", list(CHAIN))
def test_a_configs_header_says_what_table_3_says(run):
    (row,) = (r for r in paper.rows([3]) if r.result.parts[0].run == run)
    header = importlib.import_module(f"configs.{run}").__doc__
    assert f"a dense top-1 error of {row.top1}%, top-5 {row.top5}%" in header
    c = config_of([f"--config=configs/{run}.py"])
    assert row.result == Result((Part(run, (c.val_scale,)),))
    assert row.label.startswith(f"{c.net}/")


def test_the_tables_runs_are_all_the_runs():
    others = {"b_5x5_256", "quickstart"}  # §4.1's comparison on the centre crop, and a miniature.
    assert {*CHAIN} | others == {*config_files.names()}


@pytest.mark.parametrize("row", [r for r in paper.rows([4]) if r.result], ids=lambda r: r.label)
def test_table_4s_scales(row):
    """§4.2: Q is S - 32, S and S + 32, or with jitter the smallest, the mean and the largest S."""
    ((part,),) = (row.result.parts,)
    low, high = config_of([f"--config=configs/{part.run}.py"]).train_scale
    spread = (low - 32, low, low + 32) if low == high else (low, (low + high) // 2, high)
    assert part.scales == spread


def test_rows_of_one_result_agree():
    for row in paper.ROWS:
        for other in paper.ROWS:
            if row.result and row.result == other.result:
                assert (row.top1, row.top5) == (other.top1, other.top5)


def test_every_comparison_is_of_two_rows():
    assert len({*paper.COMPARISONS}) == len(paper.COMPARISONS) == 30
    for comparison in paper.COMPARISONS:
        sides = (comparison.error_of, comparison.less)
        assert all(paper.row_of(side).top1 for side in sides)
        assert sides[0] != sides[1]


def test_no_ancestor_is_trained_for_a_run_that_is_there(tmp_path):
    def training_tasks(*finished):
        for run in finished:
            (tmp_path / run).mkdir()
            (tmp_path / run / "result.json").write_text("{}")
        wanted = [Result((Part("d_multiscale", (256,)), Part("e_multiscale", (256,))))]
        tasks = graph.tasks(Sweep(tmp_path), wanted)
        return {t.name: t.waits_for for t in tasks if t.kind == "train"}

    e_chain = {run: CHAIN[run] for run in ("a_256", "e_256", "e_384", "e_multiscale")}
    assert training_tasks("d_multiscale") == {"d_multiscale": (), **e_chain}
    assert training_tasks("e_multiscale") == {"d_multiscale": (), "e_multiscale": ()}
    # A source that is there too is still a task, whose age is compared.
    assert training_tasks("e_384") == {
        "d_multiscale": (), "e_384": (), "e_multiscale": ("e_384",),
    }  # fmt: skip
