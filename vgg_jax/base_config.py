"""Every key of a config, with the paper's values. Not a run: the runs are the files of configs/.

    python -m vgg_jax.main --config=configs/d_256.py --config.KEY=VALUE ...

sets any of them. § is the paper's section.

A key that is new has the old behaviour as its default. Whatever reads a run's config fills in the
keys that it was saved without, so that yesterday's workdirs open, go on and are reported.
"""

import os

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Net D at S = 256, as §3.1 trains it."""
    c = ConfigDict()
    c.name = "base"  # The run's; --workdir defaults to runs/NAME.
    c.seed = 0  # Decides initialisation, order, crops, dropout, colour shift.
    _net(c)
    _data(c)
    _recipe(c)
    _evaluation(c)
    _running(c)
    return c.lock()


def _net(c: ConfigDict) -> None:
    """Sets the net (§2) and its initialisation (§3.1). Defaults that are not the paper's say so."""
    c.net = "D"  # A, A-LRN, B, B-5x5, C, D, E: Table 1.
    c.width = 1.0  # Multiplies all channels but the input's and FC8's.
    c.crop_px = 224  # Side of the training crop, a multiple of 32.
    c.num_classes = 1000  # 0: as many as the data set has.
    c.dropout = 0.5  # After FC6 and FC7.
    c.dtype = "bfloat16"  # The arithmetic's, or float32. Parameters are float32.

    # Initialisation (§3.1). init = "normal" is the paper to the letter, from which nets were seen
    # to stay at chance or to turn to NaN (README), so the default is He's on divided inputs.
    c.init = "he"  # normal, glorot, he.
    c.init_sigma = 0.1  # The deviation of "normal": the paper's variance is 1e-2.
    # Multiplies the mean-subtracted 0-255 input; folds into conv1_1's kernel exactly.
    c.input_scale = 0.0  # 0: 1 with "normal", 1/70 with the others.
    c.init_from = "none"  # A workdir, or the name of a run beside this one; its last checkpoint.
    c.init_layers = "all"  # all; all_but_fc8, for other classes; preinit, what §3.1 takes of A.


def _data(c: ConfigDict) -> None:
    """Sets the images, and how training crops them (§3.1)."""
    c.data = ConfigDict()
    # The name of a TFDS data set, "folder", "csv", "shapes" (the embedded set), or MODULE:NAME (a
    # class of your own: see vgg_jax/README.md).
    c.data.name = "imagenet2012"  # Its name in TFDS.
    c.data.dir = ""  # TFDS's data_dir; the folder with train/CLASS/ and val/CLASS/; or FILE.csv.
    c.data.train_split = "train"  # A split of TFDS or of a CSV file, or a folder's name.
    c.data.val_split = ""  # "": "validation" of TFDS, or "val" of a folder or a CSV file.
    c.data.held_out = 0  # Training images to validate on instead of val_split; 0: val_split (§3.1).
    c.data.mean_rgb = (123.68, 116.779, 103.939)  # 0-255; (): computed from the training set.
    c.data.undecodable = "refuse"  # Such images: refuse to go on with them, or leave_out these.
    c.data.num_workers = 16  # Worker processes that decode; 0: threads of the main process.
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    c.data.cache_dir = f"{cache}/vgg_jax"  # For shapes, scans and compiled programs; on a disk.

    c.train_scale = (256, 256)  # Smallest and largest S, in px; S is drawn per image.
    c.colour_shift = 0.1  # Standard deviation of the principal components' coefficients; 0: none.


def _recipe(c: ConfigDict) -> None:
    """Sets the optimisation, the schedule and the validation after each epoch (§3.1)."""
    c.batch_size = 256  # Images a step, over all devices.
    c.num_epochs = 74  # At most; the schedule may end it sooner.
    c.learning_rate = 1e-2  # At first, or where a warm-up ends.
    c.momentum = 0.9  # Caffe's: see `optimiser.sgd`.
    c.l2_penalty = 5e-4  # On kernels.
    c.trained_layers = "all"  # all, or fc: FC6 to FC8 alone.

    # The schedule of the rate: plateau, constant, cosine, or a user's own as MODULE:NAME
    # (vgg_jax/README.md). Each reads a section of its own below, and checks it where it is in use.
    c.schedule = "plateau"  # The paper's.

    # plateau: the rate drops where the top-1 validation error stands still (§3.1).
    c.plateau = ConfigDict()
    c.plateau.patience_epochs = 5  # Epochs without an improvement before a drop.
    c.plateau.min_improvement = 0.1  # Points of error.
    c.plateau.factor = 0.1  # A drop multiplies the rate by it.
    c.plateau.last_rate = 1e-5  # A plateau at this rate ends the run.

    # constant: learning_rate from the warm-up's end on.
    c.constant = ConfigDict()
    c.constant.warmup_epochs = 0.0  # It rises from 0 in these, by the same at each step.

    # cosine: half a cosine from learning_rate at the warm-up's end to final_rate at num_epochs.
    c.cosine = ConfigDict()
    c.cosine.warmup_epochs = 0.0  # As constant's.
    c.cosine.final_rate = 0.0  # What it falls to: from 0 to learning_rate.

    # Validation after each epoch, on the centre crop.
    c.val_scale = 256  # Q, px: S, or the mean of its range (§4.1).


def _evaluation(c: ConfigDict) -> None:
    """Sets the evaluation (§3.2), after training and with --mode=eval."""
    c.eval = ConfigDict()
    c.eval.method = "dense"  # Or multicrop, both, tencrop, MODULE:NAME; none leaves it out.
    c.eval.scales = ()  # Q, px, whose posteriors are averaged; (): val_scale alone.
    c.eval.checkpoint = "last"  # Or best: of the least validation error.
    c.eval.pooling = "floor"  # Or ceil, as Caffe pools.
    c.eval.dtype = "float32"  # At highest precision; or bfloat16, faster on accelerators.
    # Pixels of a batch on a device, flips, crops and padding included.
    c.eval.batch_px = 0  # 0: 2^22, but on CPUs, where caches make it faster, 2^19.
    c.eval.save_every_s = 30.0  # Seconds between saves of what is computed; a stop loses no more.
    c.eval.batch_size = 256  # Images of the validation after each epoch, over all devices.


def _running(c: ConfigDict) -> None:
    """Sets what changes how a run goes, and but for rounding not what comes of it."""
    # What changes the memory, the time and the rounding of a step, and nothing else.
    c.model_parallel = 1  # Devices that share the FC kernels; divides the number of all (README).
    c.micro_batches = 1  # Parts of a device's batch that follow one another.
    c.remat = False  # A block's activations are computed again for the backward pass, not kept.
    # For runs on GPUs that resume to the bit; slower. CPUs and TPUs need nothing.
    c.deterministic = False  # Adds --xla_gpu_deterministic_ops=true to XLA_FLAGS.

    # Neither these nor model_parallel, micro_batches, remat and all of eval make another run, nor
    # do data.dir, .undecodable, .num_workers and .cache_dir.
    c.log_every_steps = 20  # Steps that a line of metrics.jsonl is the mean of.
    c.checkpoint_every_steps = 1000  # Besides one after each epoch.
