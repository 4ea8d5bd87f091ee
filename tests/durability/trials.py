"""A life that is cut short: by a call that fails, by one that is the last, or by the power."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.durability.children import FAILED, LIVED, TELL, Children
from tests.durability.disks import Recorder, State, lay_out
from tests.durability.lives import Life
from tests.durability.promises import Broken, Said, check
from tests.durability.strace import FILES, KILLED, REFUSED, Call, attached, calls

DATA_MAX = "10000000"  # bytes of one call that are recorded


class Trials:
    """Trials of one life."""

    def __init__(self, life: Life, room: Path, children: Children, mutant: str = "") -> None:
        """Prepare them.

        Args:
            mutant: the recipe, if it is not production's; the caller has planted it, here.
        """
        self._life = life
        self._children = children
        self._mutant = mutant
        self._room = room / "trials"
        shutil.rmtree(self._room, ignore_errors=True)
        self._before, self._root = self._room / "before", self._room / "root"
        self._before.mkdir(parents=True)
        life.prepare(self._before / "run")

    def points(self) -> list[Call]:
        """List the calls of a life that can be made to fail."""
        self._reset()
        _, _, made = self._live(f"trace={FILES}")
        return [call for call in made if call.concerns(self._root)]

    def meddle(self, call: Call, what: str) -> None:
        """Let something happen to one call of a life."""
        self._reset()
        said, code, made = self._live(f"trace={call.name}", _injection(call, what))
        if what == KILLED:
            assert code == -signal.SIGKILL
            hit = made[-1]
            assert hit.result is None
        else:
            assert code != FAILED, f"a mistake of ours after {call}"
            (hit,) = (one for one in made if "INJECTED" in one.outcome)
        assert str(hit) == str(call), "lives differ"
        try:
            check(self._life, self._root / "run", said)
        except Broken as broken:
            raise AssertionError(f"{broken}, after {what} at {call}, having said {said}") from None

    def lose_power(self, call: Call | None = None, what: str = "") -> Iterator[tuple[State, Said]]:
        """Give every disk that a power failure may leave, with what was said before it.

        Args:
            call, what: KILLED, a life that was ended when it was about to make that call has gone
                before; REFUSED, that call fails, and the life goes on.
        """
        self._reset()
        recorder = Recorder(self._root)
        said: list[tuple[str, int]] = []
        injected = [f"trace={FILES}", *([] if call is None else [_injection(call, what)])]
        if what == KILLED:
            earlier, _, made = self._live(*injected)
            said += earlier
            for one in made:
                recorder.do(one)
            injected.pop()
        _, code, made = self._live(*injected)
        assert code == LIVED or what == REFUSED
        seen = set()
        for one in made:
            if one.name == "write" and one.descriptor() == TELL:
                word, number = one.data(1).decode().split()
                said.append((word, int(number)))
            elif not recorder.do(one):
                continue
            for state in recorder.states():
                key = len(said), frozenset(state.items())
                if key not in seen:
                    seen.add(key)
                    yield state, tuple(said)

    def restart(
        self, state: State, said: Said, *, goes_on: bool = True, is_marked: bool = True
    ) -> None:
        """Hold what the power failure has left against what was said before; see `check`."""
        shutil.rmtree(self._root)
        self._root.mkdir()
        lay_out(state, self._root)
        check(self._life, self._root / "run", said, goes_on=goes_on, is_marked=is_marked)

    def _live(self, *expressions: str) -> tuple[Said, int, list[Call]]:
        pid = self._children.start(self._life.name, self._root / "run", self._mutant)
        out = self._room / "calls"
        options = [word for expression in expressions for word in ("-e", expression)]
        with attached(pid, out, "-s", DATA_MAX, *options):
            said, code = self._children.live(pid)
        return said, code, calls(out)

    def _reset(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._before, self._root)


def _injection(call: Call, what: str) -> str:
    return f"inject={call.name}:{what}:when={call.occurrence}"
