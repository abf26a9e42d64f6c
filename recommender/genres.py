"""Genres: one spelling, and the listener categories that hundreds of raw genres fall into.

The mapping is the data below, read top to bottom. A raw genre belongs to the category with the
longest phrase that occurs in it as whole words; of equally long ones, to the category listed first.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

OTHER = "other"
"""The category slug of a track that no category claims."""

CATEGORIES: dict[str, tuple[str, ...]] = {
    # The six of the description, section 1.
    "Lo-fi Chill": ("lo-fi", "lofi", "chillhop", "study beats", "chillout", "chill", "ambient",
                    "downtempo", "trip-hop"),
    "Pop Anthems": ("pop", "dance pop", "electropop", "post-teen pop", "europop", "synthpop",
                    "power pop", "boy band", "girl group"),
    "Hype Beats": ("hip hop", "hip-hop", "trap", "rap", "drill", "grime", "hip pop",
                   "southern hip hop", "gangster rap"),
    "Indie Vibes": ("indie", "indie rock", "indie pop", "bedroom pop", "shoegaze", "dream pop",
                    "alternative", "new wave", "post-punk", "poptimism", "permanent wave"),
    "R&B Feels": ("r&b", "rnb", "neo-soul", "neo soul", "new jack swing", "urban contemporary",
                  "contemporary r&b", "soul", "motown", "quiet storm"),
    "Sad Boy Hours": ("emo", "sad", "melancholic", "sadcore", "slowcore", "screamo"),
    # Enough more for the rest of a real catalogue.
    "Dance Floor": ("edm", "house", "electro house", "big room", "progressive house", "techno",
                    "trance", "dubstep", "drum and bass", "electronic", "electronica", "dance",
                    "progressive electro house", "pop edm", "disco", "club"),
    "Latin Heat": ("latin", "latin pop", "latin hip hop", "reggaeton", "salsa", "bachata",
                   "cumbia", "tropical", "bossa nova", "samba"),
    "Rock Legends": ("rock", "classic rock", "album rock", "hard rock", "punk", "grunge",
                     "progressive rock", "psychedelic", "rockabilly", "garage rock"),
    "Metal Storm": ("metal", "death-metal", "black metal", "metalcore", "thrash", "hardcore",
                    "industrial"),
    "Jazz & Blues": ("jazz", "blues", "swing", "bebop", "big band", "funk"),
    "Country Roads": ("country", "americana", "bluegrass", "honky tonk"),
    "Folk & Acoustic": ("folk", "acoustic", "singer-songwriter", "celtic"),
    "Classical Focus": ("classical", "baroque", "opera", "piano", "orchestral", "soundtrack",
                        "score", "new age", "instrumental"),
    "Island Rhythms": ("reggae", "dancehall", "ska", "dub", "soca"),
    "World Sounds": ("world", "afrobeat", "afropop", "k-pop", "j-pop", "j-rock", "bollywood",
                     "anime", "flamenco"),
}  # fmt: skip


def normalise_genre(raw: str) -> str:
    """Return the one spelling of a raw genre: lower case ASCII words joined by hyphens.

    Examples
    --------
    >>> normalise_genre("Death Metal"), normalise_genre("R&B"), normalise_genre("Música  Pop")
    ('death-metal', 'r-b', 'musica-pop')
    """
    plain = unicodedata.normalize("NFKD", raw).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def slug(category: str) -> str:
    """Return a category's name as it stands in states and requests.

    Examples
    --------
    >>> slug("Pop Anthems"), slug("R&B Feels")
    ('pop_anthems', 'r_b_feels')
    """
    return normalise_genre(category).replace("-", "_")


CATEGORY_SLUGS: tuple[str, ...] = tuple(slug(name) for name in CATEGORIES)
"""In the order of `CATEGORIES`: a category's code is its place here."""


@lru_cache(maxsize=65_536)
def category_of(genre: str) -> str | None:
    """Return the slug of the category that claims one raw genre, or None.

    Examples
    --------
    'indie' is longer than 'pop', and 'big room' than nothing at all:

    >>> category_of("indie poptimism"), category_of("Big Room"), category_of("spoken word")
    ('indie_vibes', 'dance_floor', None)
    """
    words = f"-{normalise_genre(genre)}-"
    longest, found = 0, None
    for name, phrases in CATEGORIES.items():
        for phrase in phrases:
            needle = normalise_genre(phrase)
            if len(needle) > longest and f"-{needle}-" in words:
                longest, found = len(needle), slug(name)
    return found


def categorise(genres: Iterable[str]) -> str | None:
    """Return the category of a track: that of the first of its genres that has one.

    Examples
    --------
    >>> categorise(["spoken word", "trap", "pop"])
    'hype_beats'
    """
    return next((category for genre in genres if (category := category_of(genre))), None)
