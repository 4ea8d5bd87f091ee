"""What a world raises that breaks a promise."""


class Broken(Exception):
    """Raised when a world breaks a promise."""

    def __init__(self, promise: str, step: int, detail: object = "") -> None:
        super().__init__(promise)
        self.promise = promise
        self.step = step
        self.detail = str(detail)
