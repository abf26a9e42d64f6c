"""Names: the key under which two sources mean the same artist, or the same title."""

import unicodedata


def name_key(name: str) -> str:
    """Return NFKD, lower case, letters and digits only: accents and dots do not part artists.

    A name that is nothing but punctuation is its own key, stripped and casefolded; only an empty
    name has an empty key.

    Examples
    --------
    >>> name_key("Beyoncé"), name_key("AC/DC"), name_key(" !!! ")
    ('beyonce', 'acdc', '!!!')
    """
    plain = unicodedata.normalize("NFKD", name).lower()
    return "".join(filter(str.isalnum, plain)) or name.strip().casefold()
