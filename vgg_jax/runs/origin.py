"""Reads facts about an imported net from its workdir's result. Needs no JAX."""

import json

from vgg_jax.storage.files import Path


def lacks_fc_layers(workdir: Path) -> bool:
    """Returns whether a workdir holds a net that was imported without FC layers."""
    result = workdir / "result.json"
    if not result.exists():
        return False
    return not json.loads(result.read_text()).get("imported", {}).get("fc_layers", True)
