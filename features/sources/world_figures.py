"""The figures that the simulated world is drawn from. Figures only: no row of any data set.

Genres: over the distinct tracks t of a playlist subgenre of the catalogue (spotify_songs.csv),
mean m_f = sum_t x_tf / n and standard deviation s_f = sqrt(sum_t (x_tf - m_f)^2 / n) of each audio
feature f, tempo in BPM; age = mean of max(0, 2020 - release year) + 1/2.
Popularity: the quantiles 0, 5%, 10% ... 100% over the catalogue's distinct tracks.
Traits: mean, standard deviation and correlations of the scores that `recommender.questionnaires`
gives to ipip50_responses.csv.
Correlations: genre_trait_correlations.csv (Anderson et al. 2021, a transcription); neuroticism is
minus its column Stability. No |r| is above .16: what a trait says of a taste is little.

A test computes all of them again from the data.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Genre:
    """One subgenre: its genre, its share of the tracks, its sound, its age, its nearest kin.

    Attributes
    ----------
    parent
        The genre that it belongs to.
    tracks
        Distinct tracks in the catalogue: how large its part of the world is.
    mean, deviation
        In the order of `recommender.audio.FEATURES`, tempo in BPM.
    age_years
        Mean age of a release.
    published
        The genre whose correlations with the traits it takes.
    """

    parent: str
    tracks: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    age_years: float
    published: str


# danceability, energy, valence, tempo, acousticness, instrumentalness, speechiness
GENRES: dict[str, Genre] = {
    "big room": Genre("edm", 1090, (.622, .857, .327, 128.7, .044, .234, .095),
        (.117, .119, .192, 13.8, .096, .322, .079), 3.1, "House"),
    "electro house": Genre("edm", 1187, (.691, .798, .416, 125.1, .091, .342, .087),
        (.121, .148, .238, 12.1, .173, .363, .071), 3.0, "House"),
    "pop edm": Genre("edm", 1295, (.646, .743, .461, 123.7, .142, .046, .087),
        (.122, .143, .215, 22.5, .183, .163, .075), 3.2, "Electro"),
    "progressive electro house": Genre("edm", 1617, (.646, .816, .372, 126.6, .053, .258, .079),
        (.121, .128, .224, 10.7, .101, .346, .061), 5.1, "House"),
    "latin hip hop": Genre("latin", 1034, (.725, .726, .631, 117.8, .169, .022, .123),
        (.104, .141, .213, 29.5, .183, .102, .096), 6.9, "Latin"),
    "latin pop": Genre("latin", 1090, (.678, .678, .584, 119.3, .252, .017, .089),
        (.135, .177, .232, 28.9, .236, .094, .081), 6.0, "Latin"),
    "reggaeton": Genre("latin", 715, (.760, .737, .675, 120.6, .203, .004, .126),
        (.086, .111, .174, 37.2, .165, .035, .091), 5.7, "Reggaeton"),
    "tropical": Genre("latin", 893, (.693, .671, .563, 116.4, .281, .088, .076),
        (.119, .166, .246, 23.5, .254, .240, .070), 3.6, "Latin"),
    "dance pop": Genre("pop", 927, (.651, .730, .512, 119.9, .154, .054, .077),
        (.124, .158, .216, 21.5, .200, .172, .068), 4.5, "Pop"),
    "electropop": Genre("pop", 1124, (.638, .726, .519, 122.9, .134, .083, .070),
        (.124, .162, .227, 23.7, .183, .206, .067), 9.8, "Pop"),
    "indie poptimism": Genre("pop", 1377, (.624, .652, .462, 118.3, .225, .045, .068),
        (.128, .184, .220, 25.8, .263, .153, .065), 3.9, "Indie"),
    "post-teen pop": Genre("pop", 1017, (.632, .710, .547, 123.8, .156, .010, .082),
        (.142, .171, .206, 27.8, .205, .069, .073), 7.9, "Pop"),
    "hip pop": Genre("r&b", 1196, (.677, .625, .517, 116.2, .252, .027, .125),
        (.136, .161, .226, 28.6, .248, .121, .110), 5.1, "R&B"),
    "neo soul": Genre("r&b", 1293, (.652, .535, .506, 109.0, .321, .041, .128),
        (.135, .167, .207, 28.3, .260, .142, .113), 9.1, "Soul"),
    "new jack swing": Genre("r&b", 830, (.720, .640, .649, 113.5, .150, .015, .087),
        (.106, .174, .186, 27.7, .176, .074, .078), 23.0, "R&B"),
    "urban contemporary": Genre("r&b", 1025, (.648, .586, .472, 117.9, .295, .028, .129),
        (.152, .185, .238, 28.9, .276, .132, .113), 8.9, "R&B"),
    "gangster rap": Genre("rap", 1198, (.733, .682, .504, 117.6, .149, .017, .240),
        (.129, .150, .233, 31.8, .170, .092, .137), 10.4, "Hip-hop"),
    "hip hop": Genre("rap", 987, (.716, .530, .480, 117.6, .342, .293, .175),
        (.129, .210, .222, 33.0, .305, .398, .129), 2.1, "Hip-hop"),
    "southern hip hop": Genre("rap", 1120, (.718, .679, .556, 120.2, .118, .031, .190),
        (.154, .154, .215, 31.8, .158, .137, .128), 13.7, "Hip-hop"),
    "trap": Genre("rap", 1135, (.731, .651, .445, 130.5, .219, .067, .145),
        (.123, .151, .213, 26.5, .202, .206, .109), 2.1, "Hip-hop"),
    "album rock": Genre("rock", 727, (.495, .687, .489, 123.7, .183, .071, .057),
        (.148, .211, .238, 29.8, .231, .186, .046), 29.5, "Classic Rock"),
    "classic rock": Genre("rock", 1018, (.552, .698, .614, 123.8, .194, .055, .052),
        (.141, .181, .223, 25.5, .220, .150, .039), 27.5, "Classic Rock"),
    "hard rock": Genre("rock", 1222, (.485, .822, .479, 128.0, .067, .048, .073),
        (.122, .160, .199, 29.2, .143, .147, .055), 15.9, "Rock"),
    "permanent wave": Genre("rock", 825, (.542, .715, .556, 125.0, .138, .065, .049),
        (.137, .185, .230, 27.6, .209, .178, .038), 21.9, "Alternative"),
}  # fmt: skip

POPULARITY = (0, 0, 1, 6, 14, 22, 28, 33, 36, 40, 43, 47, 50, 53, 56, 59, 62, 66, 70, 75, 100)
"""Quantiles 0, 5% ... 100% of a track's popularity, 0-100."""

DURATION_MS = (226000, 61000)
"""Mean and standard deviation of a track's length."""

TRAIT_MEAN = (72.6, 58.5, 50.1, 71.2, 52.4)
TRAIT_DEVIATION = (15.6, 18.2, 23.1, 17.9, 21.6)
"""Scores 0-100, in the order of `recommender.personality.TRAITS`."""

TRAIT_RELIABILITY = (0.80, 0.81, 0.89, 0.83, 0.87)
"""Cronbach's alpha of the IPIP-50 scales: how far to trust a score."""

TRAIT_CORRELATION = (
    (1.00, 0.08, 0.16, 0.12, -0.10),
    (0.08, 1.00, 0.09, 0.18, -0.26),
    (0.16, 0.09, 1.00, 0.34, -0.26),
    (0.12, 0.18, 0.34, 1.00, -0.11),
    (-0.10, -0.26, -0.26, -0.11, 1.00),
)

# openness, conscientiousness, extraversion, agreeableness, neuroticism (minus Stability)
TASTE_CORRELATION: dict[str, tuple[float, ...]] = {
    "Alternative": (0.064, -0.080, -0.101, -0.072, 0.092),
    "Classic Rock": (0.065, 0.057, -0.014, 0.036, -0.026),
    "Electro": (0.111, -0.047, -0.025, -0.003, 0.010),
    "Hip-hop": (-0.023, -0.070, 0.063, -0.018, 0.027),
    "House": (-0.001, -0.066, 0.026, 0.006, 0.025),
    "Indie": (0.099, -0.081, -0.016, 0.000, 0.099),
    "Latin": (0.002, 0.034, 0.101, 0.071, -0.036),
    "Pop": (-0.063, -0.038, 0.048, 0.019, 0.081),
    "R&B": (0.017, 0.077, 0.123, 0.100, -0.032),
    "Reggaeton": (-0.023, 0.042, 0.112, 0.067, -0.043),
    "Rock": (0.054, -0.079, -0.111, -0.068, 0.088),
    "Soul": (0.080, 0.128, 0.110, 0.124, -0.076),
}  # fmt: skip
"""Published genre -> correlation of listening to it with each trait, in the order of `TRAITS`."""
