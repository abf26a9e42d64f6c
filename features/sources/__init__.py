"""The outside world: each module reads one kind of source into the tables.

`catalogue`, `lastfm` and `world` import. `files` opens what is given, `cells` reads one cell of it,
`spotify_columns` knows what others call Spotify's columns, `names` joins artists across sources.
"""
