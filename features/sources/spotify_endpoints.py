"""Spotify's endpoints that Bondhu calls: how each is told apart, limited, and read when it fails.

As documented by Spotify in November 2024 and February 2026: audio-features, recommendations and
related artists are closed to new applications; several-at-once gets, new releases and popularity to
development applications. A 403 or 404 there says that the application may not, whatever it asks;
elsewhere it speaks of one track or one listener.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoint:
    """One endpoint.

    Attributes
    ----------
    pattern
        Of the path.
    share
        How much of SPOTIFY_RPM calls of this endpoint may take.
    can_close
        Whether a 403 or 404 means that the application may not use it.
    of_listener
        Whether it needs a listener's token.
    """

    name: str
    pattern: str
    share: float = 0.5
    can_close: bool = False
    of_listener: bool = False


ENDPOINTS = (
    Endpoint("recently-played", r"/v1/me/player/recently-played", of_listener=True),
    Endpoint("top-tracks", r"/v1/me/top/tracks", of_listener=True),
    Endpoint("top-artists", r"/v1/me/top/artists", of_listener=True),
    Endpoint("audio-features", r"/v1/audio-features/?", can_close=True),
    Endpoint("recommendations", r"/v1/recommendations", share=0.3, can_close=True),
    Endpoint("new-releases", r"/v1/browse/new-releases", share=0.3, can_close=True),
    Endpoint("several-artists", r"/v1/artists/?", can_close=True),
    Endpoint("artist", r"/v1/artists/[^/]+"),
    Endpoint("album-tracks", r"/v1/albums/[^/]+/tracks/?"),
    Endpoint("search", r"/v1/search", share=0.3),
)
TOKEN = Endpoint("token", r"/api/token", share=1.0)
OTHER = Endpoint("other", r".*")


def endpoint_of(path: str) -> Endpoint:
    """Return the endpoint that a path belongs to.

    Examples
    --------
    >>> endpoint_of("/v1/audio-features/").name, endpoint_of("/v1/artists/4Z8W").name
    ('audio-features', 'artist')
    """
    for endpoint in (*ENDPOINTS, TOKEN):
        if re.fullmatch(endpoint.pattern, path):
            return endpoint
    return OTHER
