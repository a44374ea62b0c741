"""Settings of all tests: 8 virtual CPU devices, checked shapes, strict promotion."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import jax
import pytest
from absl import flags
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")

# Before any test imports the package: every annotated shape is checked where it is passed.
install_import_hook("vgg_jax", "beartype.beartype")


@pytest.fixture(scope="session", autouse=True)
def _sees_eight_devices():
    assert jax.device_count() == 8


@pytest.fixture(scope="module")
def parsed_flags():
    """Grain's worker processes want absl's flags parsed, as `main` has them."""
    was_parsed = flags.FLAGS.is_parsed()
    flags.FLAGS.mark_as_parsed()
    yield
    if not was_parsed:
        flags.FLAGS.unparse_flags()
