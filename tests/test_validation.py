import jax.numpy as jnp
import numpy as np
import pytest

from vgg_jax.training import validation


def batch_metrics(batch):
    weight = jnp.asarray(batch["weight"])
    return {
        "count": weight.sum(),
        "loss": 2 * weight.sum(),
        "top1": weight[:2].sum(),
        "top5": weight[:1].sum(),
    }


def batches(*sizes):
    return iter([{"weight": (np.arange(4) < size).astype(np.float32)} for size in sizes])


def test_errors_are_of_the_images_alone():
    result = validation.validate(batch_metrics, batches(4, 4, 1), num_batches=3, num_images=9)
    assert result == validation.ValResult(
        top1_error=100 * 5 / 9, top5_error=100 * 3 / 9, loss=2.0, num_images=9
    )


def test_more_batches_than_may_be_in_flight():
    result = validation.validate(batch_metrics, batches(*[4] * 20), num_batches=20, num_images=80)
    assert result.num_images == 80


@pytest.mark.parametrize("num_images", [8, 10])
def test_an_image_too_many_or_too_few_is_noticed(num_images):
    with pytest.raises(AssertionError, match=f"^9 images, not {num_images}"):
        validation.validate(batch_metrics, batches(4, 4, 1), num_batches=3, num_images=num_images)
