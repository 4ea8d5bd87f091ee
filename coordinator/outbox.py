"""What one generation of a coordinator says to its members: each message as a Send."""

from coordinator.effects import Send
from coordinator.events import Peer
from coordinator.leases import Lease
from coordinator.members import Member
from coordinator.training import Training
from engine.config import WorkConfig
from wire import messages
from wire.messages import PROTOCOL_VERSION


class Outbox:
    """Fills in run, generation and session.

    Attributes:
        run: the run's id.
        gen: how many times the run's coordinator has started, this time included.
    """

    def __init__(self, run: str, gen: int, work: WorkConfig, heartbeat_s: float) -> None:
        self.run = run
        self.gen = gen
        self._work = work
        self._heartbeat_s = heartbeat_s

    def is_ours(self, message: messages.FromMember) -> bool:
        """Say whether a message is of this run and generation."""
        return (message.run, message.gen) == (self.run, self.gen)

    def welcome(self, member: Member) -> Send:
        config = self._work.to_json()
        return Send(
            member.peer,
            messages.Welcome(
                PROTOCOL_VERSION, self.run, self.gen, member.sid, config, self._heartbeat_s
            ),
        )

    def task(self, member: Member, lease: Lease, training: Training) -> messages.Task:
        """Give a lease, with the parameters if the member lacks them; it holds them from then."""
        lacks_params = member.params_digest != training.params_digest
        member.params_digest = training.params_digest
        return messages.Task(
            run=self.run,
            gen=self.gen,
            sid=member.sid,
            step=training.step,
            lo=lease.branch[0],
            hi=lease.branch[1],
            lease=lease.id,
            params_digest=training.params_digest,
            num_documents=training.count_documents(lease.branch),
            payload=training.payload(lease.branch),
            params=training.point.params_bytes if lacks_params else b"",
        )

    def result(self, member: Member, grad: messages.Grad, status: str) -> Send:
        session = self.run, self.gen, member.sid
        return Send(member.peer, messages.Result(*session, grad.step, grad.lo, grad.hi, status))

    def cancel(self, member: Member, lease: int) -> Send:
        return Send(member.peer, messages.Cancel(self.run, self.gen, member.sid, lease))

    def ping(self, member: Member, t: float) -> Send:
        return Send(member.peer, messages.Ping(self.run, self.gen, member.sid, t))

    def pong(self, member: Member, t: float) -> Send:
        return Send(member.peer, messages.Pong(self.run, self.gen, member.sid, t))

    def who(self, peer: Peer, sid: int) -> Send:
        return Send(peer, messages.Who(self.run, self.gen, sid))

    def bye(self, member: Member, reason: str, durable_step: int) -> Send:
        session = self.run, self.gen, member.sid
        return Send(member.peer, messages.Bye(*session, reason, durable_step))
