"""What can be wrong with what the engine is given.

EngineError
├── ConfigError      a setting that no run can have
├── DatasetError     documents that no run can train on
├── UnknownCharacter a text with a character that the vocabulary lacks
└── GraphError       a graph or program that breaks the rules of its form
"""


class EngineError(ValueError):
    """The base of every error that the engine raises on purpose."""


class ConfigError(EngineError):
    """Raised when a configuration cannot describe a run."""


class DatasetError(EngineError):
    """Raised when a list of documents cannot be trained on."""


class UnknownCharacter(EngineError):
    """Raised when a text holds a character that is not in the vocabulary.

    Attributes:
        character: the first such character.
    """

    def __init__(self, character: str, characters: str) -> None:
        self.character = character
        super().__init__(
            f"expected characters of {characters!r}, got {character!r}"
            " — the model has never seen it; leave it out"
        )


class GraphError(EngineError):
    """Raised when a graph or a program breaks the rules of its form."""
