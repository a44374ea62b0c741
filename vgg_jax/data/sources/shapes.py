"""The embedded data set, which is rendered into the cache if it isn't there yet."""

import contextlib
import io
import math
from typing import Any

from vgg_jax.data.sources.tfds import TfdsSource
from vgg_jax.data.specs import DataSpec
from vgg_jax.errors import UserError
from vgg_jax.storage import cache_folder, writer


class ShapesSource(TfdsSource):
    """One split of the rendered set."""

    def _builder(self, data: DataSpec) -> Any:
        from vgg_jax.data.rendered_shapes import Shapes  # It imports TFDS, which takes a second.

        cache_dir = cache_folder.path(data.cache_dir)
        builder = Shapes(data_dir=cache_dir, file_format="array_record")
        if not builder.is_prepared():
            cache_folder.make(cache_dir)
            # If several runs start together, one of them renders, and the others wait for it.
            with writer.one_writer(
                cache_dir, "shapes", "rendering", "choose another cache", wait_s=math.inf
            ):
                builder = Shapes(data_dir=cache_dir, file_format="array_record")
                if not builder.is_prepared():
                    _render(builder)
        return builder


def _render(builder: Any) -> None:
    import tensorflow_datasets as tfds

    print(f"Rendering the embedded data set into {builder.data_dir} (once, for some seconds) ...")
    tfds.disable_progress_bar()
    # TFDS announces a download that doesn't take place.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except (OSError, RuntimeError) as error:
        reason = str(error).partition(". Needed")[0]
        raise UserError(
            f"The embedded data set can't be rendered into {builder.data_dir} ({reason}). Free "
            "some space, or set --config.data.cache_dir to another folder."
        ) from error
    tfds.enable_progress_bar()


SOURCE = ShapesSource
