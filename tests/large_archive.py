"""Writes an archive like ILSVRC2012_img_train.tar, with as many images, of one byte each.

    python tests/large_archive.py FOLDER

It takes 1.3 GB. `pytest` doesn't run this: it measures how long it takes to find the images.
"""

import pathlib
import sys
import tarfile

from vgg_jax.data.imagenet import classes

NUM_IMAGES = 1_281_167


def header(name, size):
    """Returns the header of a file in an archive."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def main(folder):
    most, fewer = divmod(NUM_IMAGES, len(classes.synsets()))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ILSVRC2012_img_train.tar").open("wb") as file:
        for label, synset in enumerate(classes.synsets()):
            names = [f"{synset}_{7 * i}.JPEG" for i in range(most + (label < fewer))]
            images = b"".join(
                header(name, 1) + b"x".ljust(tarfile.BLOCKSIZE, b"\0") for name in names
            )
            images += bytes(2 * tarfile.BLOCKSIZE)
            file.write(header(f"{synset}.tar", len(images)) + images)
        file.write(bytes(2 * tarfile.BLOCKSIZE))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
