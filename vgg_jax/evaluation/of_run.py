"""A run's posteriors and images, from its workdir alone: for notebooks and reports."""

from ml_collections import ConfigDict

from vgg_jax.data import opening
from vgg_jax.data.decodable import SizedImages
from vgg_jax.data.decoded import Decoded
from vgg_jax.data.source import Subset
from vgg_jax.errors import UserError
from vgg_jax.evaluation import evaluate, fusion, same_images
from vgg_jax.evaluation.posteriors import Posteriors
from vgg_jax.evaluation.result_key import ResultKey
from vgg_jax.runs import run_config, saved_steps
from vgg_jax.storage.files import Path


def posteriors(
    workdir: Path, *, method: str = "dense", checkpoint: saved_steps.Which = "last"
) -> Posteriors:
    """Reads a run's posteriors of its validation images, or computes and keeps them.

    Args:
      workdir: The run's folder.
      method: See `methods.check`. The scales Q are those of the run's config.
      checkpoint: "last" or "best".

    Raises:
      UserError: There is no run, or its images, which it needs to compute what is missing, can't
        be opened.
    """
    c = run_config.existing(workdir)
    c.eval.method, c.eval.checkpoint = method, checkpoint
    key = ResultKey.from_config(c)
    found = fusion.read_run(workdir, key)
    if found is None:
        images = _opened(c, workdir)
        net = evaluate.load_net(c, workdir, images.source)
        key = evaluate.key_of(c, workdir, net, images.source)
        evaluate.evaluate(c, workdir, key, net, images)
        found = fusion.read_run(workdir, key)
    return found


def images(workdir: Path, posteriors: Posteriors) -> Decoded:
    """Opens the images that posteriors are of, in the same order.

    Args:
      workdir: The run's folder. Its config says where the images are.
      posteriors: See above.

    Returns:
      A function that decodes the image of an index.

    Raises:
      UserError: The images can't be opened, or others are there now.
    """
    c = run_config.existing(workdir)
    source = _opened(c, workdir).source
    names = tuple(source.name(i) for i in range(len(source)))
    if names == posteriors.names:
        return Decoded(source)
    order = same_images.order_of(names, posteriors.names)
    if order is None or not same_images.are_ilsvrcs(names):
        raise UserError(
            f"The images of {c.data.dir or c.data.name} are not those that {workdir} was evaluated "
            "on. Restore them, or remove the folder eval of that workdir to evaluate it again."
        )
    return Decoded(Subset(source, order))


def _opened(c: ConfigDict, workdir: Path) -> SizedImages:
    try:
        return opening.scanned(c, opening.for_evaluation(c))
    except UserError as error:
        raise UserError(
            f"The images of the run in {workdir} can't be opened: {error} The keys of data in "
            f"{run_config.path(workdir)} say where they were looked for."
        ) from error
