"""All keys of a config. The files of configs/ are the configs of runs.

The defaults are the paper's values, unless a comment says otherwise. Any key can be set on the
command line:

    python -m vgg_jax.main --config=configs/d_256.py --config.KEY=VALUE ...

§ is a section of the paper. S and Q are its training scale and its test scale.

A new key has the previous behaviour as its default. If a saved config lacks the key, the default
fills it in, so that an older workdir still opens, resumes and is reported as before.
"""

import os

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the config of net D at S = 256, trained as in §3.1."""
    c = ConfigDict()
    c.name = "base"  # The run's name; --workdir defaults to runs/NAME.
    c.seed = 0  # Decides the initialisation, order, crops, dropout and colour shift.
    _net(c)
    _data(c)
    _recipe(c)
    _evaluation(c)
    _running(c)
    return c.lock()


def _net(c: ConfigDict) -> None:
    """Sets the net (§2) and its initialisation (§3.1), whose default is not the paper's."""
    c.net = "D"  # A, A-LRN, B, C, D or E of Table 1, or B-5x5 of §4.1.
    c.width = 1.0  # Multiplies the channels of every layer except the input and FC8.
    c.crop_px = 224  # Side of the training crop, in px: a multiple of 32.
    c.num_classes = 1000  # 0 means as many as the data set has.
    c.dropout = 0.5  # The dropout rate after FC6 and FC7 (§3.1).
    # Parameters are float32 in any case. On GPUs the arithmetic of float32 is TF32.
    c.dtype = "bfloat16"  # bfloat16, or the paper's float32, for the arithmetic.

    # The initialisation (§3.1). "normal" is exactly the paper's, but nets that started from it were
    # seen to stay at chance or to reach NaN (configs/README.md). The default is therefore He's
    # initialisation, with a scaled input.
    c.init = "he"  # normal, glorot or he.
    c.init_sigma = 0.1  # Standard deviation for "normal"; the paper's variance is 1e-2.
    # Multiplies the input (0-255, minus the mean); 1 is the paper's. conv1_1's kernel times this
    # factor changes as if its rate were multiplied by the factor's square.
    c.input_scale = 0.0  # 0: that of the run in init_from, or else 1 for "normal", 1/70 for others.
    # The run whose last checkpoint training starts from: a workdir, or the name of one next to it.
    c.init_from = "none"  # none means a random initialisation.
    # preinit takes A's first four convolutions and its FC layers, as in §3.1.
    c.init_layers = "all"  # all; all_but_fc8, for other classes; preinit.


def _data(c: ConfigDict) -> None:
    """Sets the images, and how training crops them (§3.1)."""
    c.data = ConfigDict()
    # imagenet (in any of its forms: see configs/README.md; imagenet2012 means the same), the name
    # of a TFDS data set, folder, csv, shapes (the embedded set), or MODULE:NAME (a class of your
    # own: see vgg_jax/README.md).
    c.data.name = "imagenet"  # It also reads other images in class folders.
    c.data.dir = ""  # The folder with the images, TFDS's data_dir, or FILE.csv.
    c.data.train_split = "train"  # A split of TFDS or of a CSV file, or a folder's name.
    c.data.val_split = ""  # "": "validation" of ImageNet or TFDS, or "val" of others.
    c.data.held_out = 0  # Training images to validate on instead of val_split; 0: val_split (§3.1).
    # The mean that is subtracted: auto for that of the run in init_from, or else ILSVRC's for
    # imagenet, or else that of the training set; () for that of the training set in any case.
    c.data.mean_rgb = ("auto",)  # auto, () or three numbers of 0-255: --config.data.mean_rgb=1,2,3.
    c.data.undecodable = "refuse"  # Such images: refuse to go on with them, or leave_out these.
    # -1: as many processes as the cores and the work are worth; on one or two cores, threads.
    c.data.num_workers = -1  # Worker processes that decode; 0: threads of the main process.
    # An image that alone needs more than three quarters of this can't be decoded.
    c.data.decode_bytes = 2**31  # Memory, in bytes, of all decoders of a process and its workers.
    c.data.cache_dir = f"{_cache_home()}/vgg_jax"  # For shapes, scans and programs; on a disk.

    c.train_scale = (256, 256)  # Smallest and largest S, in px; S is drawn per image.
    c.colour_shift = 0.1  # Standard deviation of the principal components' coefficients; 0: none.


def _recipe(c: ConfigDict) -> None:
    """Sets the optimisation, the schedule and the validation after each epoch (§3.1)."""
    c.batch_size = 256  # Images per step, over all devices.
    c.num_epochs = 74  # The most epochs to train; the schedule may end training sooner.
    c.learning_rate = 1e-2  # The first rate, or the rate at the end of a warm-up.
    c.momentum = 0.9  # In Caffe's form: see `optimiser.sgd`.
    c.l2_penalty = 5e-4  # The multiplier of the L2 penalty (weight decay), on kernels only.
    c.trained_layers = "all"  # all, or prefixes of names: fc, or conv5_,fc. The others are frozen.

    # The schedule of the learning rate: plateau, constant, cosine, or your own as MODULE:NAME (see
    # vgg_jax/README.md). Each has its own section below, which is only checked if it is in use.
    c.schedule = "plateau"  # The paper's.

    # plateau: the rate drops when the top-1 validation error stops improving (§3.1).
    c.plateau = ConfigDict()
    c.plateau.patience_epochs = 5  # Epochs without an improvement before a drop.
    c.plateau.min_improvement = 0.1  # The smallest improvement that counts, in points (percent).
    c.plateau.factor = 0.1  # A drop multiplies the rate by this factor.
    c.plateau.last_rate = 1e-5  # The lowest rate. A plateau at this rate ends training.

    # constant: the rate is learning_rate from the end of the warm-up on.
    c.constant = ConfigDict()
    c.constant.warmup_epochs = 0.0  # Epochs in which the rate rises linearly from 0; 0 for none.

    # cosine: the rate follows half a cosine, from learning_rate at the end of the warm-up to
    # final_rate at num_epochs.
    c.cosine = ConfigDict()
    c.cosine.warmup_epochs = 0.0  # Epochs in which the rate rises linearly from 0; 0 for none.
    c.cosine.final_rate = 0.0  # The rate at the end, from 0 to learning_rate.

    # Validation after each epoch, on the centre crop.
    c.val_scale = 256  # Q, in px: S, or the mean of its range (§4.1).


def _evaluation(c: ConfigDict) -> None:
    """Sets the evaluation (§3.2), which follows training or runs alone with --mode=eval."""
    c.eval = ConfigDict()
    c.eval.method = "dense"  # dense, multicrop, both, tencrop, MODULE:NAME; none skips it.
    c.eval.scales = ()  # The scales Q, in px, to average over; () means val_scale alone.
    # What counts for the errors. The files of posteriors keep all of the net's classes.
    c.eval.classes = "all"  # all of the net's classes, or those that are present in the images.
    c.eval.labels = ""  # FILE.json, a list of right classes per image; "": each image's own label.
    c.eval.checkpoint = "last"  # last, or best for the one with the lowest validation error.
    c.eval.pooling = "floor"  # floor drops an odd last row or column; ceil pools it, as in Caffe.
    c.eval.dtype = "float32"  # float32, at highest precision, or bfloat16, faster on accelerators.
    # Pixels per batch on each device, including flips, crops and padding.
    c.eval.batch_px = 0  # 0 means 2^23, or 2^19 on CPUs, where caches make this faster.
    c.eval.save_every_s = 30.0  # Seconds between saves of posteriors; a stop loses no more work.
    c.eval.batch_size = 256  # Images per batch of the validation after each epoch, on all devices.


def _running(c: ConfigDict) -> None:
    """Sets how a run is executed. Except for rounding, these keys don't change its result."""
    # These keys change only the memory, the time and the rounding of a step.
    c.model_parallel = 1  # Devices that share the FC kernels; divides the device count.
    c.micro_batches = 1  # Parts of each device's batch that are computed one after another.
    c.remat = False  # Whether the backward pass recomputes activations instead of keeping them.
    # Makes runs on GPUs resume to the bit, but slows them. CPUs and TPUs don't need it.
    c.deterministic = False  # Adds --xla_gpu_deterministic_ops=true to XLA_FLAGS.

    # A run can be resumed with other values of these two keys, with more num_epochs, and with other
    # values of name, model_parallel, micro_batches, remat, all of eval, and data.dir, .undecodable,
    # .num_workers, .decode_bytes and .cache_dir.
    c.log_every_steps = 20  # Steps per line of metrics.jsonl, which holds their means.
    c.checkpoint_every_steps = 1000  # Steps between checkpoints. Each epoch also ends with one.


def _cache_home() -> str:
    # The XDG rules ignore an empty or relative path.
    path = os.environ.get("XDG_CACHE_HOME", "")
    return path if os.path.isabs(path) else "~/.cache"
