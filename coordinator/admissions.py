"""Who may contribute: the same version, config and arithmetic as ours, and nobody who has lied."""

from collections import deque

from coordinator.effects import Effect, Send, Tell
from coordinator.events import Peer
from coordinator.facts import PeerRefused
from coordinator.members import Member
from coordinator.status import REFUSALS_KEPT, Refusal
from engine.config import WorkConfig
from wire.messages import CONFIG, GRADIENT, KEY, NUMERICS, QUARANTINE, Grad, Ready, Refuse

NAME_CHARACTERS_MAX = 64  # of what a peer says of itself, in a log
DIGEST_CHARACTERS = 12  # of a digest, for people

REASONS = {  # code of a refusal -> why a member is lost
    CONFIG: "it computes something else",
    NUMERICS: "its arithmetic rounds otherwise",
    GRADIENT: "its gradient does not fit",
    QUARANTINE: "it has lied",
    KEY: "its key was revoked",
}


class Admissions:
    """Refuses, and remembers whom.

    Attributes:
        fingerprint: of our own engine; None until it is known.
        quarantined: names of workers that have lied.
        refusals: the last of them.
    """

    def __init__(self, work: WorkConfig, accepts_numerics: bool) -> None:
        self._work = work
        self._accepts_numerics = accepts_numerics
        self.fingerprint: str | None = None
        self.quarantined: list[str] = []
        self.refusals: deque[Refusal] = deque(maxlen=REFUSALS_KEPT)

    def objection(self, ready: Ready) -> tuple[str, str] | None:
        """Give the code and the text of what keeps a worker from contributing, if anything does."""
        assert self.fingerprint is not None
        if ready.config_hash != self._work.digest:
            return CONFIG, (
                f"expected config {self._work.digest}, got {printable(ready.config_hash)}"
                " — ready; run the same version of gradflock everywhere"
            )
        if ready.fingerprint != self.fingerprint and not self._accepts_numerics:
            ours, theirs = self.fingerprint, printable(ready.fingerprint)
            return NUMERICS, (
                f"expected gradients with digest {ours[:DIGEST_CHARACTERS]}, got"
                f" {theirs[:DIGEST_CHARACTERS] or 'none'} — ready; this machine or its libraries"
                " round other than the coordinator's: run the same image on both, or start the"
                " coordinator with --accept-numerics, which gives the promise of equal bits up"
            )
        return None

    def misfit(self, member: Member, grad: Grad) -> tuple[str, str]:
        """Say what is wrong with an answer that cannot be one to what was asked."""
        return GRADIENT, (
            f"expected {8 * self._work.model.num_params} bytes of gradient for a branch of step"
            f" {grad.step + 1}, got {len(grad.payload)} for ({grad.lo}, {grad.hi}) of other"
            f" parameters or another tree — grad of {member.name}; run the same version everywhere"
        )

    def quarantine(self, member_name: str, step: int) -> tuple[str, str]:
        """Keep a worker out for good; give code and text for it."""
        if member_name not in self.quarantined:
            self.quarantined.append(member_name)
        return QUARANTINE, (
            f"expected the gradient that the coordinator computes itself, got other bits from"
            f" {member_name} — step {step + 1}; check that machine's memory and what it runs"
        )

    def shut_out(self, key_name: str) -> tuple[str, str]:
        """Give code and text for whoever has a key that was revoked."""
        return KEY, (
            f"expected a key that is allowed, got {printable(key_name)!r}, which was revoked"
            " — keys; ask for a new one, made by gradflock keys new"
        )

    def refuse(self, peer: Peer, name: str, code: str, text: str) -> list[Effect]:
        self.refusals.append(Refusal(name, code, text))
        return [Send(peer, Refuse(code, text, permanent=True)), Tell(PeerRefused(name, text))]

    def refuse_quarantined(self, member: Member) -> list[Effect]:
        text = f"expected an honest worker, got {member.name}, which has lied — hello; restart it"
        return self.refuse(member.peer, member.name, QUARANTINE, text)


def printable(text: str) -> str:
    """What a peer says of itself, safe to print."""
    return "".join(c if c.isprintable() else "?" for c in text)[:NAME_CHARACTERS_MAX]
