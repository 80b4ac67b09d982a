"""Two dimensions for what has thousands: PCA, t-SNE and UMAP, from inner products alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from sparks.errors import SparksError
from sparks.insight.neighbours import cosine_distances

Array = npt.NDArray[np.floating[Any]]
SEED = 0


def pca(products: Array) -> Array:
    """`[n, 2]`: the two directions in which the runs differ most."""
    return library("pca").KernelPCA(2, kernel="precomputed").fit_transform(products)  # type: ignore[no-any-return]


def tsne(products: Array) -> Array:
    """`[n, 2]`: neighbours by cosine distance stay neighbours; distances of groups mean little."""
    perplexity = min(15.0, (len(products) - 1) / 3)
    return (
        library("tsne")
        .TSNE(  # type: ignore[no-any-return]
            2, perplexity=perplexity, metric="precomputed", init="random", random_state=SEED
        )
        .fit_transform(cosine_distances(products))
    )


def umap(products: Array) -> Array:
    """`[n, 2]`: neighbours by cosine distance, by UMAP."""
    made = library("umap").UMAP(
        n_neighbors=min(15, len(products) - 1),
        metric="precomputed",
        init="random",
        random_state=SEED,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says what it will not be asked for
        return made.fit_transform(cosine_distances(products))  # type: ignore[no-any-return]


METHODS: dict[str, Callable[[Array], Array]] = {"pca": pca, "tsne": tsne, "umap": umap}
TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


_NEEDED = {
    "pca": ("sklearn.decomposition", "insight"),
    "tsne": ("sklearn.manifold", "insight"),
    "umap": ("umap", "umap"),
}


def library(method: str) -> Any:
    """What computes a method.

    Raises:
        SparksError: it is not installed; says which extra brings it.
    """
    module, extra = _NEEDED[method]
    if find_spec(module.partition(".")[0]) is None:
        raise SparksError(
            f"--method {method} needs what pip install 'sound-sparks[{extra}]' brings"
        )
    return import_module(module)
