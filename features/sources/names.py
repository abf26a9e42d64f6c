"""Artists' names: the key under which two sources mean the same artist."""

import unicodedata


def artist_key(name: str) -> str:
    """Return NFKD, lower case, letters and digits only: accents and dots do not part artists.

    A name that is nothing but punctuation is its own key, stripped and casefolded; only an empty
    name has an empty key.

    Examples
    --------
    >>> artist_key("Beyoncé"), artist_key("AC/DC"), artist_key(" !!! ")
    ('beyonce', 'acdc', '!!!')
    """
    plain = unicodedata.normalize("NFKD", name).lower()
    return "".join(filter(str.isalnum, plain)) or name.strip().casefold()
