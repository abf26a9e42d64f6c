"""Invented names for the simulated world: pleasant to read, nobody's.

An artist is three words, the last a kind of ensemble; a title follows one of a few forms.
"""

import numpy as np

_COLOURS = (
    "Amber", "Ashen", "Auburn", "Azure", "Beryl", "Birch", "Brindle", "Cedar", "Cinder", "Cobalt",
    "Copper", "Coral", "Crimson", "Dappled", "Dusky", "Ebony", "Fallow", "Fern", "Flint",
    "Gilded", "Hazel", "Heather", "Indigo", "Ivory", "Jade", "Juniper", "Lilac", "Linen", "Maple",
    "Marble", "Mossy", "Ochre", "Opal", "Pebble", "Russet", "Saffron", "Sage", "Slate", "Teal",
    "Umber", "Velvet", "Willow",
)  # fmt: skip
_THINGS = (
    "Acorn", "Anchor", "Atlas", "Beacon", "Bellows", "Bramble", "Candle", "Canyon", "Compass",
    "Cricket", "Dune", "Ember", "Feather", "Ferry", "Garden", "Glacier", "Harbour", "Heron",
    "Island", "Kettle", "Kite", "Ladder", "Lantern", "Lagoon", "Meadow", "Mirror", "Moth",
    "Orchard", "Otter", "Parcel", "Pier", "Quarry", "Raven", "River", "Sparrow", "Staircase",
    "Sundial", "Thimble", "Tide", "Tunnel", "Valley", "Window",
)  # fmt: skip
_ENSEMBLES = (
    "Assembly", "Brigade", "Choir", "Club", "Collective", "Committee", "Ensemble", "Exchange",
    "Federation", "Guild", "Parade", "Quartet", "Quintet", "Society", "Syndicate", "Union",
)  # fmt: skip
_FORMS = (
    "{colour} {thing}",
    "{thing} at Noon",
    "{thing} in the Rain",
    "Letters to a {thing}",
    "Half a {thing}",
    "No {thing} Tonight",
    "Where the {thing} Sleeps",
    "{colour} {thing} Again",
    "Second {thing}",
    "{thing} Weather",
    "Slow {colour}",
    "The {colour} {thing} Song",
)


def artist_names(rng: np.random.Generator, n: int) -> list[str]:
    """Return n different artists' names.

    Examples
    --------
    >>> artist_names(np.random.default_rng(7), 2)
    ['Umber Otter Quintet', 'Lilac Dune Parade']
    """
    shape = (len(_COLOURS), len(_THINGS), len(_ENSEMBLES))
    drawn = rng.choice(int(np.prod(shape)), size=n, replace=False)
    words = zip(*np.unravel_index(drawn, shape), strict=True)
    return [f"{_COLOURS[c]} {_THINGS[t]} {_ENSEMBLES[e]}" for c, t, e in words]


def titles(rng: np.random.Generator, n: int) -> list[str]:
    """Return n titles; two tracks may share one, as real ones do.

    Examples
    --------
    >>> titles(np.random.default_rng(7), 2)
    ['The Maple Meadow Song', 'Slate Raven Again']
    """
    forms = rng.integers(len(_FORMS), size=n)
    colours, things = rng.integers(len(_COLOURS), size=n), rng.integers(len(_THINGS), size=n)
    return [
        _FORMS[form].format(colour=_COLOURS[colour], thing=_THINGS[thing])
        for form, colour, thing in zip(forms, colours, things, strict=True)
    ]
