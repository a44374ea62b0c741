"""Lists the commands of the package: python -m vgg_jax."""

_COMMANDS = {
    "main": "trains a net, goes on with a run, evaluates it, or checks its files",
    "predict": "prints the most probable classes of photos, and draws where the net sees them",
    "fuse": "averages the posteriors of runs that were evaluated on the same images",
    "features": "stores a vector of each image, and trains a linear classifier on them",
    "weights": "imports weights of other packages, and exports a run's net",
    "data": "says what a data set is, what is missing, and how to train on it",
    "describe": "prints a net's layers and sizes, and predicts the memory of a training step",
    "report": "writes a page about a finished run",
}

if __name__ == "__main__":
    print("Each command tells more with --help:")
    for name, about in _COMMANDS.items():
        print(f"    python -m vgg_jax.{name:8s}  {about}")
