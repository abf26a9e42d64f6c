"""Every error of the core, in one tree."""


class RecommenderError(Exception):
    """Something was asked that has no answer; the message says what and what to do."""


class UnknownGenreError(RecommenderError):
    """A genre is neither a listener category nor a genre of the catalogue."""


class QuestionnaireError(RecommenderError):
    """Answers do not fit their questionnaire."""


class ModelFormatError(RecommenderError):
    """A stored model does not hold what its schema asks for."""


class FeedbackError(RecommenderError):
    """A feedback cannot be judged: its type, a duration or its context makes no sense."""
