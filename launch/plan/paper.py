"""Tables 3 to 7 of the paper: the runs and scales behind each row, and the paper's errors."""

import dataclasses
from collections.abc import Iterable

from ml_collections import ConfigDict

from vgg_jax.runs import config_files

# The names of the evaluation methods in the tables.
METHOD_NAMES = {
    "dense": "dense",
    "multicrop": "multi-crop",
    "both": "multi-crop & dense",
}

TITLES = {
    3: "one test scale",
    4: "several test scales",
    5: "dense, multi-crop and both",
    6: "fusion of nets",
    7: "the state of the art",
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One run, evaluated at one or several test scales.

    Attributes:
      run: The name of a file in configs/.
      scales: The test scales Q, in px, whose posteriors are averaged.
    """

    run: str
    scales: tuple[int, ...]

    def __str__(self) -> str:
        """Returns the part as Table 6 writes it: D/[256;512]/256,384,512."""
        c = config_files.of_run(self.run)[1]
        return f"{c.net}/{train_scale(c)}/{','.join(map(str, self.scales))}"


def train_scale(c: ConfigDict) -> str:
    """Returns a run's S as the paper writes it: 256, or [256;512] with scale jittering."""
    low, high = c.train_scale
    return f"{low}" if low == high else f"[{low};{high}]"


@dataclasses.dataclass(frozen=True)
class Result:
    """A result that the paper reports: an evaluation of one run, or a fusion of several runs.

    Attributes:
      parts: The runs and scales whose posteriors are averaged; more than one part is a fusion.
      method: The evaluation method: "dense", "multicrop" or "both".
    """

    parts: tuple[Part, ...]
    method: str = "dense"

    def __str__(self) -> str:
        """Returns the parts, and the method if it isn't dense."""
        method = "" if self.method == "dense" else f" {METHOD_NAMES.get(self.method, self.method)}"
        return "; ".join(map(str, self.parts)) + method


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      table: The table's number.
      label: The row's name.
      result: The result that reproduces the row; None for other people's nets.
      top1, top5: The paper's validation errors in percent; None if it gives none.
      top5_test: The paper's error on the test split in percent, which only Tables 6 and 7 have;
        None if the paper gives none.
    """

    table: int
    label: str
    result: Result | None
    top1: float | None
    top5: float | None
    top5_test: float | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A difference of two errors from which the paper draws a conclusion.

    Attributes:
      topic: What is compared, with the section of the paper.
      error_of, less: The difference is the first result's error less the second's.
    """

    topic: str
    error_of: Result
    less: Result


def _single(table: int, run: str, *scales: int, errors: tuple[float, float]) -> Row:
    part = Part(run, scales)
    return Row(table, str(part), Result((part,)), *errors)


_TABLE_3 = tuple(
    _single(3, run, q, errors=errors)
    for run, q, errors in (
        ("a_256", 256, (29.6, 10.4)),
        ("a_lrn_256", 256, (29.7, 10.5)),
        ("b_256", 256, (28.7, 9.9)),
        ("c_256", 256, (28.1, 9.4)),
        ("c_384", 384, (28.1, 9.3)),
        ("c_multiscale", 384, (27.3, 8.8)),
        ("d_256", 256, (27.0, 8.8)),
        ("d_384", 384, (26.8, 8.7)),
        ("d_multiscale", 384, (25.6, 8.1)),
        ("e_256", 256, (27.3, 9.0)),
        ("e_384", 384, (26.9, 8.7)),
        ("e_multiscale", 384, (25.5, 8.0)),
    )
)

_AROUND_256, _AROUND_384, _JITTERED = (224, 256, 288), (352, 384, 416), (256, 384, 512)

_TABLE_4 = tuple(
    _single(4, run, *scales, errors=errors)
    for run, scales, errors in (
        ("b_256", _AROUND_256, (28.2, 9.6)),
        ("c_256", _AROUND_256, (27.7, 9.2)),
        ("c_384", _AROUND_384, (27.8, 9.2)),
        ("c_multiscale", _JITTERED, (26.3, 8.2)),
        ("d_256", _AROUND_256, (26.6, 8.6)),
        ("d_384", _AROUND_384, (26.5, 8.6)),
        ("d_multiscale", _JITTERED, (24.8, 7.5)),
        ("e_256", _AROUND_256, (26.9, 8.7)),
        ("e_384", _AROUND_384, (26.7, 8.6)),
        ("e_multiscale", _JITTERED, (24.8, 7.5)),
    )
)


def _jittered(net: str, method: str) -> Result:
    return Result((Part(f"{net}_multiscale", _JITTERED),), method)


_TABLE_5 = tuple(
    Row(5, f"{net.upper()}, {METHOD_NAMES[method]}", _jittered(net, method), *errors)
    for net, method, errors in (
        ("d", "dense", (24.8, 7.5)),
        ("d", "multicrop", (24.6, 7.5)),
        ("d", "both", (24.4, 7.2)),
        ("e", "dense", (24.8, 7.5)),
        ("e", "multicrop", (24.6, 7.4)),
        ("e", "both", (24.4, 7.1)),
    )
)

_SEVEN_NETS = Result(
    (
        Part("d_256", _AROUND_256),
        Part("d_384", _AROUND_384),
        Part("d_multiscale", _JITTERED),
        Part("c_256", _AROUND_256),
        Part("c_384", _AROUND_384),
        Part("e_256", _AROUND_256),
        Part("e_384", _AROUND_384),
    )
)


def _two_nets(method: str) -> Result:
    return Result((Part("d_multiscale", _JITTERED), Part("e_multiscale", _JITTERED)), method)


_TABLE_6 = (
    Row(6, "7 nets (ILSVRC submission), dense", _SEVEN_NETS, 24.7, 7.5, 7.3),
    Row(6, "2 nets, dense", _two_nets("dense"), 24.0, 7.1, 7.0),
    Row(6, "2 nets, multi-crop", _two_nets("multicrop"), 23.9, 7.2),
    Row(6, "2 nets, multi-crop & dense", _two_nets("both"), 23.7, 6.8, 6.8),
)

_TABLE_7 = (
    Row(7, "VGG, 2 nets, multi-crop & dense", _two_nets("both"), 23.7, 6.8, 6.8),
    Row(7, "VGG, 1 net, multi-crop & dense", _jittered("e", "both"), 24.4, 7.1, 7.0),
    Row(7, "VGG, ILSVRC submission, 7 nets, dense", _SEVEN_NETS, 24.7, 7.5, 7.3),
    # The paper gives one figure for both splits.
    Row(7, "GoogLeNet (Szegedy et al. 2014), 1 net", None, None, 7.9, 7.9),
    Row(7, "GoogLeNet (Szegedy et al. 2014), 7 nets", None, None, 6.7, 6.7),
    Row(7, "MSRA (He et al. 2014), 11 nets", None, None, None, 8.1),
    Row(7, "MSRA (He et al. 2014), 1 net", None, 27.9, 9.1, 9.1),
    Row(7, "Clarifai (Russakovsky et al. 2014), several nets", None, None, None, 11.7),
    Row(7, "Clarifai (Russakovsky et al. 2014), 1 net", None, None, None, 12.5),
    Row(7, "Zeiler & Fergus 2013, 6 nets", None, 36.0, 14.7, 14.8),
    Row(7, "Zeiler & Fergus 2013, 1 net", None, 37.5, 16.0, 16.1),
    Row(7, "OverFeat (Sermanet et al. 2014), 7 nets", None, 34.0, 13.2, 13.6),
    Row(7, "OverFeat (Sermanet et al. 2014), 1 net", None, 35.7, 14.2),
    Row(7, "Krizhevsky et al. 2012, 5 nets", None, 38.1, 16.4, 16.4),
    Row(7, "Krizhevsky et al. 2012, 1 net", None, 40.7, 18.2),
)

ROWS = (*_TABLE_3, *_TABLE_4, *_TABLE_5, *_TABLE_6, *_TABLE_7)


def rows(tables: Iterable[int]) -> list[Row]:
    """Returns the rows of some tables."""
    chosen = set(tables)
    return [row for row in ROWS if row.table in chosen]


def row_of(result: Result) -> Row:
    """Returns the first row that reports a result."""
    return next(row for row in ROWS if row.result == result)


def _result_in(table: int, run: str) -> Result:
    (result,) = (
        row.result for row in rows([table]) if row.result and row.result.parts[0].run == run
    )
    return result


COMPARISONS = (
    Comparison("LRN (§4.1)", _result_in(3, "a_lrn_256"), _result_in(3, "a_256")),
    *(
        Comparison(topic, _result_in(3, deeper), _result_in(3, shallower))
        for topic, deeper, shallower in (
            ("depth (§4.1)", "b_256", "a_256"),
            ("depth: C's 1x1 convolutions (§4.1)", "c_256", "b_256"),
            ("depth: D's 3x3 in place of C's 1x1 (§4.1)", "d_256", "c_256"),
            ("depth (§4.1)", "e_256", "d_256"),
        )
    ),
    *(
        Comparison(
            "scale jittering (§4.1)",
            _result_in(3, f"{net}_multiscale"),
            _result_in(3, f"{net}_{fixed}"),
        )
        for net in "cde"
        for fixed in (256, 384)
    ),
    *(
        Comparison("several Q (§4.2)", row.result, _result_in(3, row.result.parts[0].run))
        for row in _TABLE_4
    ),
    *(
        Comparison(topic, _jittered(net, method), _jittered(net, other))
        for net in "de"
        for topic, method, other in (
            ("multi-crop (§4.3)", "multicrop", "dense"),
            ("both (§4.3)", "both", "dense"),
            ("both (§4.3)", "both", "multicrop"),
        )
    ),
    Comparison("fusion (§4.4)", _two_nets("dense"), _jittered("e", "dense")),
    Comparison("fusion (§4.4)", _two_nets("both"), _jittered("e", "both")),
    Comparison("fusion (§4.4)", _two_nets("dense"), _SEVEN_NETS),
)
