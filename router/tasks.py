"""The classifier that the settings ask for."""

from classifiers.artefact import SHIPPED, ArtefactError, load
from classifiers.label import Classifier
from classifiers.model import Model
from classifiers.prompt import prompt_of
from router.errors import SetupError
from router.settings import ClassifierSettings


def load_classifier(settings: ClassifierSettings) -> Classifier:
    """The trained model; raises SetupError where its artefact cannot be used."""
    folder = settings.artefact or SHIPPED
    try:
        model = Model(load(folder).weights, settings.min_confidence)
    except ArtefactError as error:
        raise SetupError(f"classifier.artefact: {error}") from None
    model.classify(prompt_of("Warm up: the first prompt costs seven times the next."))
    return model
