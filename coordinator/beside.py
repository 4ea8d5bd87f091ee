"""Work beside the coordinator's loop: one thread, one job after another, answers in their order."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, Self, TypeVar

END_S = 1.0  # that a coordinator which leaves waits for what nobody awaits

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Beside(Generic[Job, Answer]):
    """A thread that works: a daemon, for no process should stay for what nobody will read."""

    def __init__(
        self, make_work: Callable[[], Callable[[Job], Answer]], wake: Callable[[], None]
    ) -> None:
        """Begin without a thread.

        Args:
            make_work: gives what does a job; called in the thread, since that may take long.
            wake: called in the thread, after each answer.
        """
        self._make_work = make_work
        self._wake = wake
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer | BaseException] = SimpleQueue()
        self._thread: Thread | None = None

    def ask(self, job: Job) -> None:
        """Have a job done after those before it."""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = Thread(target=self._work, daemon=True)
            self._thread.start()

    def answers(self) -> Iterator[Answer]:
        """Give what has come of jobs, each once; what went wrong in the thread is raised here."""
        while True:
            try:
                answer = self._answers.get_nowait()
            except Empty:
                return
            if isinstance(answer, BaseException):
                raise answer
            yield answer

    def _work(self) -> None:
        try:
            work = self._make_work()
            while (job := self._jobs.get()) is not None:
                self._answers.put(work(job))
                self._wake()
        except BaseException as error:
            self._answers.put(error)
            self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(END_S)
