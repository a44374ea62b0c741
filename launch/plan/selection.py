"""Selects the results of the paper that a sweep makes: those of some tables or of some runs."""

from collections.abc import Sequence

from launch.plan import paper
from launch.plan.paper import Part, Result
from vgg_jax.errors import UserError, did_you_mean
from vgg_jax.runs import config_files


def of_tables(numbers: Sequence[str]) -> list[Result]:
    """Returns the results in some tables that our nets reproduce.

    Args:
      numbers: The numbers of the tables, as the user wrote them, for example "3".

    Raises:
      UserError: A number isn't that of a table from 3 to 7.
    """
    tables = [int(number) if number.isdecimal() else 0 for number in numbers]
    if not {*tables} <= {*paper.TITLES}:
        raise UserError(f"--tables={','.join(numbers)}: choose some of 3, 4, 5, 6 and 7.")
    return [row.result for row in paper.rows(tables) if row.result]


def of_runs(names: Sequence[str]) -> list[Result]:
    """Returns the results of some runs in Tables 3 to 5, or a dense evaluation if there are none.

    Raises:
      UserError: A name isn't that of a run in configs/.
    """
    unknown = [name for name in names if name not in config_files.names()]
    if unknown:
        raise UserError(
            f"--runs names no run: {', '.join(unknown)}."
            f"{did_you_mean(unknown[0], config_files.names())} "
            f"Choose from {', '.join(config_files.names())}."
        )
    results = []
    for name in names:
        reported = [
            row.result
            for row in paper.rows([3, 4, 5])
            if row.result and [part.run for part in row.result.parts] == [name]
        ]
        val_scale = config_files.of_run(name)[1].val_scale
        results += reported or [Result((Part(name, (val_scale,)),))]
    return results
