"""The names of a result's files."""

import pathlib

import pytest

from vgg_jax.evaluation.result_key import ResultKey, Variant


@pytest.mark.parametrize(
    ("split", "scales", "stem"),
    [
        ("val", (256,), "val-dense-256"),
        ("validation", (256, 384, 512), "validation-dense-256_384_512"),
        ("validation[:10%]", (73,), "validation__10__-dense-73"),
        ("test+val", (73,), "test_val-dense-73"),
        ("../größe v1.2", (73,), ".._größe_v1.2-dense-73"),
    ],
)
def test_files_are_called_after_split_method_and_scales(split, scales, stem):
    workdir = pathlib.Path("runs", "it.1")
    key = ResultKey(split, "dense", scales)
    assert key.result_path(workdir) == workdir / "eval" / f"{stem}.json"
    posteriors = key.posteriors_path(workdir)
    assert posteriors == workdir / "eval" / f"{stem}.npz"
    assert len(posteriors.relative_to(workdir).parts) == 2
    variant = Variant(checkpoint="best", pooling="ceil")
    of_variant = ResultKey(split, "dense", scales, variant).posteriors_path(workdir)
    assert of_variant.name == f"{stem}-best-ceil.npz"


@pytest.mark.parametrize("checkpoint", ["last", "best"])
@pytest.mark.parametrize("pooling", ["floor", "ceil"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_variants_name_tells_its_settings(checkpoint, pooling, dtype):
    variant = Variant(checkpoint, pooling, dtype)
    assert Variant.parse(variant.name) == variant
    assert (variant.name == "") == (variant == Variant())


def test_both_is_made_of_single_methods_and_scales():
    key = ResultKey("val", "both", (256, 384), Variant(pooling="ceil"))
    names = [
        of_scale.posteriors_path(pathlib.Path()).name
        for of_method in key.by_method().values()
        for of_scale in of_method.by_scale().values()
    ]
    assert names == [
        *("val-dense-256-ceil.npz", "val-dense-384-ceil.npz"),
        *("val-multicrop-256-ceil.npz", "val-multicrop-384-ceil.npz"),
    ]
