"""`vgg_jax.describe`: the tables that it prints, and the command itself."""

import forked
import pytest
import small_runs
from PIL import Image

from vgg_jax.analysis import memory_table, net_picture, net_table
from vgg_jax.analysis.specs import NetSpec, StepSpec
from vgg_jax.nets import architectures


def row(text, name):
    """Returns the cells of the one line that starts with `name`."""
    (line,) = [line for line in text.splitlines() if line.split("  ")[0] == name]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def table(text):
    lines = text.splitlines()
    return lines[2 : lines.index("", 2)]


run = forked.fixture("vgg_jax.describe")


def test_d_layer_by_layer():
    text = net_table.column(NetSpec("D"))
    assert row(text, "input") == ["input", "RGB", "224 x 224 x 3", "150,528", "-", "-", "1 px"]
    assert row(text, "conv1_2") == [
        *("conv1_2", "conv 3x3", "224 x 224 x 64"),
        *("3,211,264", "36,864", "1,849,688,064", "5 px"),
    ]
    assert row(text, "pool5") == [
        *("pool5", "maxpool 2x2", "7 x 7 x 512", "25,088", "-", "-", "212 px"),
    ]
    assert row(text, "fc6") == [
        *("fc6", "fc 7x7", "1 x 1 x 4096", "4,096", "102,760,448", "102,760,448", "404 px"),
    ]
    assert row(text, "sum") == ["sum", "15,237,608", "138,344,128", "15,470,264,320"]
    names = [line.split()[0] for line in table(text)[2:-2]]
    assert names == ["input", *(layer.name for layer in architectures.layers("D"))]


@pytest.mark.parametrize("net", architectures.NETS)
def test_sums_are_the_columns_sums(net):
    lines = table(net_table.column(NetSpec(net), image_px=288))
    cells = [line.split("  ") for line in lines[2:-2]]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in cells]
    sums = [
        sum(int(cells[column].replace(",", "")) for cells in rows if cells[column] != "-")
        for column in (3, 4, 5)
    ]
    assert lines[-1].split() == ["sum", *(f"{total:,}" for total in sums)]


def test_columns_are_aligned():
    for text in (
        net_table.column(NetSpec("A-LRN")),
        net_table.comparison(NetSpec()),
        net_table.kernel_arithmetic(),
    ):
        header, rule, *rows = table(text)
        gaps = [place for place, mark in enumerate(rule) if mark == " "]
        for line in (header, *rows):
            assert len(line) <= len(rule)
            assert line == rule or all(line.ljust(len(rule))[gap] == " " for gap in gaps)


def test_kinds():
    assert row(net_table.column(NetSpec("C")), "conv3_3")[1] == "conv 1x1"
    assert row(net_table.column(NetSpec("B-5x5")), "conv3_1")[1] == "conv 5x5"
    assert row(net_table.column(NetSpec("A-LRN")), "norm1") == [
        *("norm1", "LRN", "224 x 224 x 64", "3,211,264", "-", "-", "3 px"),
    ]


def test_dense_image():
    text = net_table.column(NetSpec("D"), image_px=384)
    assert row(text, "fc8")[2:4] == ["6 x 6 x 1000", "36,000"]
    assert "138,357,544 parameters" in text


def test_parameters_beside_table_2():
    weights_and_biases = "(138,344,128 weights and 13,416 biases)"
    assert f"138,357,544 parameters {weights_and_biases}; Table 2: 138 million." in (
        net_table.column(NetSpec("D"))
    )
    assert "Table 2 has no figure for B-5x5." in net_table.column(NetSpec("B-5x5"))


@pytest.mark.parametrize("setting", [{"num_classes": 10}, {"width": 0.5}, {"crop_px": 96}])
def test_table_2_is_left_out_where_it_does_not_apply(setting):
    assert "million" not in net_table.column(NetSpec("D", **setting))
    text = net_table.comparison(NetSpec(**setting))
    assert "Table 2" not in text
    assert "million" not in text


def test_compare():
    text = net_table.comparison(NetSpec())
    assert row(text, "D") == [
        *("D", "16", "138,357,544", "138 million"),
        *("15,470,264,320", "89.4%", "212 px", "15,237,608"),
    ]
    assert row(text, "E")[:4] == ["E", "19", "143,667,240", "144 million"]
    assert row(text, "B-5x5")[:4] == ["B-5x5", "8", "134,503,528", "-"]
    assert [line.split()[0] for line in table(text)[2:]] == list(architectures.NETS)


def test_kernel_arithmetic():
    text = net_table.kernel_arithmetic()
    assert row(text, "two 3x3") == ["two 3x3", "5x5", "18 C^2", "25 C^2", "39%"]
    assert row(text, "three 3x3") == ["three 3x3", "7x7", "27 C^2", "49 C^2", "81%"]
    assert "pool5 sees 156 px in C, 156 px in B." in text


@pytest.mark.parametrize(
    ("spec", "image_px", "message"),
    [
        (NetSpec("F"), None, "Unknown net 'F'"),
        (NetSpec("D", crop_px=100), None, "crop_px=100"),
        (NetSpec("D"), 223, "223 px image is too small"),
    ],
)
def test_errors(spec, image_px, message):
    with pytest.raises(ValueError, match=message):
        net_table.column(spec, image_px)


def test_command_prints_the_table_and_the_arithmetic(run):
    result = run("--net=D", "--num_classes=10", "--image_px=256")
    assert (result.returncode, result.stderr) == (0, "")
    expected = [
        net_table.column(NetSpec("D", num_classes=10), image_px=256),
        net_table.kernel_arithmetic(),
    ]
    assert result.stdout == "\n\n".join(expected) + "\n"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--net=F", "Unknown net 'F'"),
        ("--width=x", "--width=x"),
        ("D", "--net=D"),
        ("--batch=0", "batch=0"),
        ("--batch=6 --micro_batches=4", "micro_batches=4"),
        ("--micro_batches=4", "Add --batch=IMAGES"),
        ("--noremat", "Add --batch=IMAGES"),
        ("--batch=8 --dtype=float16", "float16"),
        ("--net=D --mesh=8", "--mesh=8 must be DATA,MODEL"),
        ("--net=D --mesh=0,8", "--mesh=0,8 must be DATA,MODEL"),
        ("--net=D --mesh=1,2,4", "--mesh=1,2,4 must be DATA,MODEL"),
        ("--net=D --mesh=2,3", "of 6 devices 1 or 2 can"),
        ("--net=D --mesh=2,4 --batch=12", "batch=12 doesn't divide over 8 devices"),
        ("--net=D --mesh=2,4 --batch=8 --micro_batches=2", "micro_batches=2"),
        ("--net=D --mesh=2,4 --dtype=bfloat16", "Leave out --dtype=bfloat16"),
        ("--net=all --mesh=2,4", "Unknown net 'all'"),
        ("--picture=nets.txt", "--picture=nets.txt must be"),
        ("--picture=nets.png --batch=8", "--picture shows no --batch"),
        ("--picture=nets.png --crop_px=100", "crop_px=100"),
        ("--picture=README.md/nets.png", "README.md can't be written to"),
    ],
)
def test_command_reports_an_error_in_one_line(run, argument, message):
    result = run(*argument.split())
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_command_prints_the_memory_of_a_step(run):
    result = run("--net=D", "--batch=256", "--dtype=bfloat16")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == memory_table.table(NetSpec("D"), StepSpec(256, "bfloat16")) + "\n"
    assert [line.split() for line in table(result.stdout)[2:]] == [
        ["bfloat16", "off", "conv4_3", "1", "1.11", "0.53", "0.02", "5.31", "6.96", "12", "GB"],
        ["bfloat16", "on", "conv1_2", "1", "1.11", "0.55", "0.00", "5.05", "6.71", "12", "GB"],
        ["bfloat16", "off", "fc6", "2", "1.11", "1.05", "0.23", "2.57", "4.96", "8", "GB"],
        ["bfloat16", "off", "fc6", "4", "1.11", "1.05", "0.23", "1.31", "3.70", "8", "GB"],
        ["bfloat16", "off", "fc6", "8", "1.11", "1.05", "0.23", "0.67", "3.06", "8", "GB"],
    ]


def test_memory_keeps_to_what_is_given():
    def settings(**given):
        text = memory_table.table(NetSpec("D"), StepSpec(12, **given))
        return [line.split()[:4] for line in table(text)[2:]]

    assert [row[3] for row in settings(dtype="float32")] == ["1", "1", "2", "4"]
    given = settings(dtype="float32", micro_batches=3, remat=True)
    assert [[*row[:2], row[3]] for row in given] == [["float32", "on", "3"]]


def test_memory_of_all_nets():
    text = memory_table.table(NetSpec("all"), StepSpec(256))
    assert [line.split()[0] for line in table(text)[2:]] == list(architectures.NETS)
    assert row(text, "net")[1:4] == ["bfloat16", "bfloat16, remat", "bfloat16, 4 parts"]
    assert row(text, "D") == ["D", "6.96", "6.71", "3.70", "11.85", "11.72", "4.77"]


def test_command_prints_what_devices_exchange(run):
    """README quotes the sum: gradients of all 138 million parameters, the loss and the error."""
    result = run("--net=D", "--mesh=8,1")
    assert (result.returncode, result.stderr) == (0, "")
    *_, arrays, total, sent = row(result.stdout, "sum")
    num_parameters = architectures.num_parameters(architectures.layers("D"))
    assert (arrays, total) == ("34", f"{(4 * num_parameters + 8) / 1e6:.3f}") == ("34", "553.430")
    assert float(sent) == pytest.approx(2 * 7 / 8 * float(total), abs=1e-3)


def test_command_draws_the_nets(run, tmp_path):
    path = tmp_path / "new/nets.png"
    result = run("--net=all", f"--picture={path}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{path} shows the nets.\n"
    with Image.open(path) as picture:
        assert min(picture.size) > 1000


@pytest.mark.parametrize("net", architectures.NETS)
def test_a_picture_has_a_box_for_each_layer(net):
    figure = net_picture.figure(NetSpec(net, num_classes=10, width=0.25, crop_px=64))
    faces = [patch for patch in figure.axes[0].patches if patch.get_linewidth() == 0.5]
    assert len(faces) == 3 * (1 + len(architectures.layers(net)))  # The image has one too.
    texts = [text.get_text() for text in figure.axes[0].texts]
    num_parameters = architectures.num_parameters(NetSpec(net, 10, 0.25, 64).layers())
    assert f"{num_parameters / 1e6:.1f} M" in texts
    assert "4 x 4\nx 128" in texts


def test_import_needs_neither_jax_nor_numpy():
    loaded = "import sys, vgg_jax.describe; print({'jax', 'numpy'} & set(sys.modules))"
    assert small_runs.run_python("-c", loaded).stdout == "set()\n"
