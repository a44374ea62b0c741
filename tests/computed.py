"""What a function computes, read from its jaxpr."""

import jax
from jax.extend.core import jaxprs_in_params


def kernels_used(function, params, *arrays):
    """Returns the layers whose kernels function(params, *arrays) uses, in the net's order."""
    jaxpr = jax.make_jaxpr(function)(params, *arrays).jaxpr
    used = {id(value) for equation in jaxpr.eqns for value in equation.invars}
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return [
        path[0].key
        for path, value in zip(paths, jaxpr.invars[: len(paths)], strict=True)
        if path[1].key == "kernel" and id(value) in used
    ]


def num_products(function, *arguments):
    """Counts the convolutions and matrix products of a function, backward passes among them."""
    equations = _equations(jax.make_jaxpr(function)(*arguments).jaxpr)
    return sum(e.primitive.name in ("conv_general_dilated", "dot_general") for e in equations)


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _equations(inner)
