"""What outlives a coordinator: its run directory."""

from dataclasses import dataclass, field

from coordinator.effects import Save


@dataclass(slots=True)
class Disk:
    """The files of one run.

    Attributes:
        seed: of every generation alike, so that only its number tells its sessions from others'.
        generation: how many coordinators have started.
        checkpoints: saves whose commit record is down, oldest first.
    """

    seed: int
    generation: int = 0
    checkpoints: list[Save] = field(default_factory=list)

    @property
    def newest(self) -> Save | None:
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def durable_step(self) -> int:
        return self.checkpoints[-1].step if self.checkpoints else -1

    def holds(self, step: int) -> bool:
        return any(save.step == step for save in self.checkpoints)

    def put(self, save: Save) -> None:
        """Have the record of a save; one of the same step may be there, of a save that failed."""
        self.revoke_after(save.step - 1)
        self.checkpoints.append(save)

    def revoke_after(self, step: int) -> None:
        self.checkpoints = [save for save in self.checkpoints if save.step <= step]
