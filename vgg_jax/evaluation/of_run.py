"""A run's posteriors and images, from its workdir alone: for notebooks and reports."""

from ml_collections import ConfigDict

from vgg_jax.data import opening
from vgg_jax.data import settings as data_settings
from vgg_jax.data.decodable import SizedImages
from vgg_jax.data.decoded import Decoded
from vgg_jax.data.source import Subset
from vgg_jax.errors import UserError
from vgg_jax.evaluation import evaluate, fusion, same_images
from vgg_jax.evaluation.posteriors import Posteriors, parts_made_by
from vgg_jax.evaluation.result_key import FOLDER, ResultKey
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
        images = _opened(c, workdir, key.split)
        net = evaluate.load_net(c, workdir, images.source)
        key = evaluate.key_of(c, workdir, net, images.source)
        evaluate.evaluate(c, workdir, key, net, images)
        found = fusion.read_run(workdir, key)
    return found


def images(workdir: Path, posteriors: Posteriors) -> Decoded:
    """Opens the images that posteriors are of, in the same order.

    Args:
      workdir: The run's folder.
      posteriors: See above, or those of another set. They say where their images were. Those of
        the run's own split may lie where its config says instead.

    Returns:
      A function that decodes the image of an index.

    Raises:
      UserError: The images can't be opened, or others are there now.
    """
    own, c = run_config.existing(workdir), run_config.existing(workdir)
    own_split = data_settings.evaluated_split(own)
    recorded = dict(next(parts_made_by(posteriors.made_by)).get("data", {}))
    split = recorded.pop("split", own_split)  # Files of earlier versions have no record.
    c.data.update(recorded)
    try:
        return _images(c, workdir, split, posteriors.names)
    except UserError:
        if split != own_split:
            raise
    return _images(own, workdir, split, posteriors.names)


def _images(c: ConfigDict, workdir: Path, split: str, wanted: tuple[str, ...]) -> Decoded:
    source = _opened(c, workdir, split).source
    names = tuple(source.name(i) for i in range(len(source)))
    if names == wanted:
        return Decoded(source)
    order = same_images.order_of(names, wanted)
    if order is None or not same_images.are_ilsvrcs(names):
        raise UserError(
            f"The images of {c.data.dir or c.data.name} are not those that {workdir} was evaluated "
            f"on as {split!r}. Restore them, or move the files of {split!r} in {workdir / FOLDER} "
            "away, and evaluate it again."
        )
    return Decoded(Subset(source, order))


def _opened(c: ConfigDict, workdir: Path, split: str) -> SizedImages:
    try:
        return opening.scanned(c, opening.for_evaluation(c))
    except UserError as error:
        is_own = split == data_settings.evaluated_split(run_config.existing(workdir))
        where = f"The keys of data in {run_config.path(workdir)}" if is_own else "The posteriors"
        raise UserError(
            f"The images of the run in {workdir} can't be opened: {error} {where} say where they "
            "were looked for."
        ) from error
