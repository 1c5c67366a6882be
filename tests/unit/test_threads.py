"""The threads on which blocking steps run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue

import pytest

from saga_actors.actors.threads import LoopThread, Threads

PATIENCE = 10.0
Job = Callable[[], object]


def call(job: Job) -> None:
    job()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging jobs wait for; open at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_job_that_blocks_holds_up_none_behind_it(gate: threading.Event) -> None:
    """Of jobs given together, those that block are passed by the others on other threads (P11)."""
    done: SimpleQueue[int] = SimpleQueue()

    def job(number: int) -> Job:
        return lambda: done.put(number) if number % 2 else gate.wait(PATIENCE)

    Threads(9, call).submit([job(number) for number in range(16)])
    assert {done.get(timeout=PATIENCE) for _ in range(8)} == set(range(1, 16, 2))


def test_a_job_that_comes_later_passes_those_that_block(gate: threading.Event) -> None:
    """Each that is given gets a thread of its own, as long as there are any (P11)."""
    done: SimpleQueue[int] = SimpleQueue()
    threads = Threads(4, call)
    for _ in range(3):
        threads.submit([lambda: gate.wait(PATIENCE)])
    for number in range(20):
        threads.submit([partial(done.put, number)])
        assert done.get(timeout=PATIENCE) == number


def test_as_many_jobs_block_at_once_as_there_are_threads_and_no_more(gate: threading.Event) -> None:
    """The next waits until one of them is done (P12)."""
    begun = threading.Semaphore(0)

    def block() -> None:
        begun.release()
        gate.wait(PATIENCE)

    Threads(3, call).submit([block] * 4)
    for _ in range(3):
        assert begun.acquire(timeout=PATIENCE)
    assert not begun.acquire(timeout=0.05)
    gate.set()
    assert begun.acquire(timeout=PATIENCE)


def test_every_job_is_done_once_whoever_gives_it() -> None:
    """No job is lost between a thread that falls asleep and one that is called."""
    counted: SimpleQueue[int] = SimpleQueue()
    threads = Threads(8, call)

    def give(first: int) -> None:
        for number in range(first, first + 500):
            threads.submit([partial(counted.put, number)])

    givers = [threading.Thread(target=give, args=(first,)) for first in range(0, 2_000, 500)]
    for giver in givers:
        giver.start()
    assert sorted(counted.get(timeout=PATIENCE) for _ in range(2_000)) == list(range(2_000))
    for giver in givers:
        giver.join()
    assert counted.empty()


def test_a_host_without_more_threads_is_made_do_with(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot have a thread of its own is done by those there are, and another is made when it can be."""
    done: SimpleQueue[str] = SimpleQueue()
    threads = Threads(3, call)
    threads.submit([lambda: done.put("first")])
    assert done.get(timeout=PATIENCE) == "first"
    threads.submit([lambda: gate.wait(PATIENCE)])

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        threads.submit([lambda: done.put("waits")])
        assert done.empty()
    threads.submit([lambda: done.put("comes")])
    assert {done.get(timeout=PATIENCE) for _ in range(2)} == {"waits", "comes"}


def test_without_any_thread_the_giver_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that nobody will ever do are not taken in silence."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        Threads(3, call).submit([lambda: None])


def test_a_host_without_threads_left_does_not_silence_the_loop_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls it then is told; the next call starts its thread, and is heard (P11)."""
    done: SimpleQueue[str] = SimpleQueue()
    loop = LoopThread()

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError, match="new thread"):
            loop.call(lambda: done.put("lost"))
    loop.call(lambda: done.put("next"))
    assert done.get(timeout=PATIENCE) == "next"
