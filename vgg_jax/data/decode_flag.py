"""The flag --decode_bytes of commands that have no config."""

from absl import flags

from vgg_jax.data import decode_budget

flags.disclaim_key_flags()  # The flag belongs to the command that defines it: see its --help.


def define() -> flags.FlagHolder[int]:
    """Defines the flag --decode_bytes, the budget of `decode_budget`."""
    return flags.DEFINE_integer(
        "decode_bytes",
        decode_budget.DEFAULT_BYTES,
        "The memory of all decoders together, in bytes, for example 4294967296. An image that "
        "needs more can't be decoded.",
        lower_bound=decode_budget.LEAST_BYTES,
    )
