"""Every error of training, in one tree; each message is one line that says what to do."""


class TrainingError(Exception):
    """A job cannot be done."""


class NothingTrainableError(TrainingError):
    """No row may be used, or too few listeners have enough of them."""


class RegistryError(TrainingError):
    """A version is missing from the registry, or its files are not what was registered."""


class RegistryUnavailableError(RegistryError):
    """What keeps the registry does not answer; a moment later it may."""
