"""Messages as a reader of a trace wants them: one short line."""

from dataclasses import dataclass, fields

from wire.messages import Message

UNSAID = ("run", "host", "pid", "versions", "config", "payload", "params", "queued_s", "compute_s")
SHORT = 8  # characters of a digest, digits of a session


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said to somebody; turned to text only if it is read."""

    to: str
    message: Message

    def __str__(self) -> str:
        message = self.message
        values = (
            f"{field.name}={_short(getattr(message, field.name))}"
            for field in fields(message)
            if field.name not in UNSAID
        )
        return f"> {self.to}: {type(message).__name__.upper()} {' '.join(values)}"


def _short(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    is_digest = isinstance(value, str) and len(text) in (32, 64)
    return text[:SHORT] if is_digest or (text.isdigit() and len(text) > 2 * SHORT) else text
