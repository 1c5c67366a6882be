"""Scripts: the whole of a program in one file, run as people run it; in processes of their own."""

from __future__ import annotations

import os
import signal

import pytest
from premises import Premises

pytestmark = pytest.mark.node

ONE_FILE = """
import attrs
from flows import act
from saga_actors import Completed, Coordinator, Saga, current_step, step

@attrs.frozen
class Order:
    folder: str
    total: int
    paid: bool = False

def charge(order: Order) -> Order:
    act({"folder": order.folder})
    return attrs.evolve(order, paid=True)

class Place(Saga[Order]):
    charge = step(charge)
"""

USE = """
with Coordinator(URL) as sagas:
    match sagas.run(Place, Order(FOLDER, 3), saga_id="placed"):
        case Completed(order):
            print(order.paid, sagas.status("placed").saga, flush=True)
"""


def guarded(text: str) -> str:
    """The same, under the guard."""
    return "\nif __name__ == '__main__':" + text.replace("\n", "\n    ")


def test_a_script_works_with_the_saga_in_its_one_file(premises: Premises) -> None:
    """It is loaded under its file's stem by the others, from wherever it is run, and runs once."""
    script = premises.write("desk/place_it.py", ONE_FILE + guarded(USE))
    elsewhere = premises.folder / "elsewhere"
    elsewhere.mkdir()
    assert premises.run(script, cwd=elsewhere) == (0, "True place_it:Place\n", "")
    assert premises.outside.names("placed") == ["charge"]
    assert premises.is_deserted()
    assert premises.run("place_it.py", cwd=script.parent) == (0, "True place_it:Place\n", "")
    assert premises.run("place_it", "-m", cwd=script.parent) == (0, "True place_it:Place\n", "")
    assert premises.outside.names("placed") == ["charge"]


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "does-not-close"])
def test_a_script_without_the_guard_is_one_clear_error(premises: Premises, closes: bool) -> None:
    """The error names the remedy; nothing is journalled, and no process is left."""
    use = USE if closes else USE.replace("with Coordinator(URL) as sagas:", "sagas = Coordinator(URL)\nif True:")
    code, out, err = premises.run(premises.write("careless.py", ONE_FILE + use))
    assert code == 1
    assert out == ""
    assert err.count("Traceback") == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("saga_actors.errors.NestedCoordinatorError: ")
    assert "put what runs sagas under `if __name__ == '__main__':`" in last
    premises.until(premises.is_deserted)
    assert premises.sagas_in_journal() == 0
    assert not premises.outside.calls()


def test_a_module_beside_the_script_or_in_the_working_folder_is_found(premises: Premises) -> None:
    """A node has the paths of whoever started it: what that can import, it can."""
    premises.write("desk/beside_it.py", ONE_FILE.replace("Place(", "Beside("))
    premises.write("here/in_folder.py", ONE_FILE.replace("Place(", "InFolder("))
    script = premises.write(
        "desk/uses_both.py",
        """
        import sys
        sys.path.insert(0, "")
        import beside_it, in_folder
        from saga_actors import Coordinator

        if __name__ == "__main__":
            with Coordinator(URL) as sagas:
                print(sagas.run(beside_it.Beside, beside_it.Order(FOLDER, 1)).context.paid)
                print(sagas.run(in_folder.InFolder, in_folder.Order(FOLDER, 1)).context.paid)
        """,
    )
    assert premises.run(script, cwd=premises.folder / "here") == (0, "True\nTrue\n", "")


@pytest.mark.parametrize(
    ("arguments", "said", "why"),
    [
        (["-"], ONE_FILE + USE, "typed into an interpreter or read from stdin"),
        (["-c", ONE_FILE + USE], "", "typed into an interpreter or read from stdin"),
        (["local.py"], "", "made in a function"),
    ],
    ids=["stdin", "command", "function"],
)
def test_a_class_that_others_cannot_import_is_refused(
    premises: Premises, arguments: list[str], said: str, why: str
) -> None:
    """The error says so and what to do, before anything is started."""
    local = (
        "def make():\n    class Local(Saga[Order]):\n        charge = step(charge)\n    return Local\nPlace = make()\n"
    )
    premises.write("local.py", ONE_FILE + local + guarded(USE))
    *options, last = [a.replace("URL", repr(premises.url)).replace("FOLDER", "'x'") for a in arguments]
    code, out, err = premises.run(last, *options, said=said.replace("URL", repr(premises.url)).replace("FOLDER", "'x'"))
    assert (code, out) == (1, "")
    assert why in err
    assert "move the class into a module of its own, and import it from there" in err
    assert not premises.node.path.exists()


def test_ctrl_c_ends_the_wait_and_not_the_saga(premises: Premises) -> None:
    """SIGINT in `run` raises SagaInterruptedError with the id; the next coordinator has the outcome (P1)."""
    script = premises.write(
        "waits.py",
        """
        from flows import Trip
        from saga_actors import Coordinator, SagaInterruptedError

        if __name__ == "__main__":
            with Coordinator(URL) as sagas:
                try:
                    sagas.run(Trip, {"folder": FOLDER, "gates": ["hotel"]}, saga_id="trip")
                except SagaInterruptedError as interrupted:
                    print(interrupted.saga_id, sagas.status("trip").state, flush=True)
                    raise
        """,
    )
    waits = premises.begin(script)
    premises.until_called("hotel")
    waits.send_signal(signal.SIGINT)
    assert waits.stdout
    assert waits.stdout.readline() == "trip running\n"
    premises.outside.open("trip-hotel")
    out, err = waits.communicate(timeout=20)
    assert (out, waits.returncode) == ("", 1)
    assert "SagaInterruptedError: the wait for saga 'trip' was interrupted" in err
    assert "result('trip')" in err
    with premises.coordinator() as sagas:
        assert type(sagas.result("trip")).__name__ == "Completed"
    assert premises.outside.names("trip") == ["flight", "hotel", "car", "mail"]


def test_a_script_that_forgets_to_close_says_goodbye_all_the_same(premises: Premises) -> None:
    """It exits cleanly and at once, and its node ends without waiting for it."""
    script = premises.write(
        "forgets.py",
        """
        from flows import Trip
        from saga_actors import Coordinator

        if __name__ == "__main__":
            sagas = Coordinator(URL)
            print(type(sagas.run(Trip, {"folder": FOLDER})).__name__)
        """,
    )
    assert premises.run(script) == (0, "Completed\n", "")
    assert "draining" in premises.log() or premises.node.present_life()
    premises.until(premises.is_deserted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_connects_anew(premises: Premises) -> None:
    """It uses the coordinator it inherited and closes it; the parent's goes on, with threads in the midst of calls."""
    script = premises.write(
        "forks.py",
        """
        import os, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from shop import Other
        from flows import Trip
        from saga_actors import Coordinator

        def child(sagas):
            assert sagas.run(Other, {"folder": FOLDER, "who": "child"}).context["who"] == "child"
            assert sagas.status("before").state == "completed"
            sagas.close()

        if __name__ == "__main__":
            with Coordinator(URL) as sagas:
                sagas.run(Other, {"folder": FOLDER}, saga_id="before")
                context = {"folder": FOLDER, "gates": ["flight"]}
                ended = []
                waits = threading.Thread(target=lambda: ended.append(sagas.run(Trip, context, saga_id="trip")))
                waits.start()
                for _ in range(2):
                    if (pid := os.fork()) == 0:
                        try:
                            child(sagas)
                        except BaseException:
                            import traceback
                            traceback.print_exc()
                            os._exit(1)
                        os._exit(0)
                    assert os.waitpid(pid, 0)[1] == 0
                open(FOLDER + "/trip-flight.open", "w").close()
                waits.join(20)
                print(type(ended[0]).__name__, len(sagas.list()))
        """,
    )
    assert premises.run(script) == (0, "Completed 4\n", "")


def test_an_application_with_thespian_and_logging_of_its_own_is_not_disturbed(premises: Premises) -> None:
    """Its system answers and its log says the same before, while and after there is a coordinator."""
    premises.write(
        "echo_actor.py",
        """
        from thespian.actors import Actor

        class Echo(Actor):
            def receiveMessage(self, message, sender):
                if isinstance(message, str):
                    self.send(sender, message.upper())
        """,
    )
    script = premises.write(
        "application.py",
        """
        import logging, os, socket, sys, threading, warnings
        warnings.simplefilter("default")  # Thespian's own, on a later Python
        from datetime import timedelta
        from thespian.actors import ActorSystem
        from echo_actor import Echo
        from saga_actors import Coordinator
        from shop import Other

        def free_port():
            with socket.socket() as probe:
                probe.bind(("", 0))
                return probe.getsockname()[1]

        def ask(system, echo, text):
            assert system.ask(echo, text, timedelta(seconds=10)) == text.upper()

        if __name__ == "__main__":
            mode = sys.argv[1]
            quiet = {"version": 1, "disable_existing_loggers": False}
            logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(name)s says %(message)s")
            capabilities = {"Admin Port": free_port(), "Convention Address.IPv4": None}
            begin = lambda: ActorSystem("multiprocTCPBase", capabilities, logDefs=quiet)
            system = begin() if mode == "before" else None
            as_it_was = (logging.root.level, list(logging.root.handlers), logging.getLogger("application").disabled)
            with Coordinator(URL) as sagas:
                if system is None:
                    sagas.run(Other, {"folder": FOLDER})
                    system = begin()
                echo = system.createActor("echo_actor.Echo")
                ask(system, echo, "one")
                print(type(sagas.run(Other, {"folder": FOLDER})).__name__, flush=True)
                ask(system, echo, "two")
                logging.getLogger("application").warning("hello")
            ask(system, echo, "three")
            assert as_it_was == (
                logging.root.level, list(logging.root.handlers), logging.getLogger("application").disabled
            ), logging.root.handlers
            system.shutdown()
            print("done", flush=True)
        """,
    )
    for mode in ("before", "after"):
        code, out, err = premises.run(mode, str(script))
        assert (code, out) == (0, "Completed\napplication says hello\ndone\n"), err


def test_a_step_may_start_another_saga(premises: Premises) -> None:
    """It attaches to the node that runs it; that it never closes its coordinator does not keep the node alive."""
    premises.write(
        "chained.py",
        """
        from flows import act
        from saga_actors import Coordinator, Saga, current_step, step

        def follow(context):
            sagas = Coordinator(URL)
            sagas.start(Second, {"folder": FOLDER}, saga_id="second-" + current_step().idempotency_key[:8])

        class Second(Saga):
            only = step(act)

        class First(Saga):
            follow = step(follow)
        """,
    )
    script = premises.write(
        "chain.py",
        """
        import chained
        from saga_actors import Coordinator

        if __name__ == "__main__":
            with Coordinator(URL) as sagas:
                print(type(sagas.run(chained.First, {})).__name__)
                (second,) = sagas.list(saga=chained.Second)
                print(type(sagas.result(second.saga_id)).__name__)
        """,
    )
    assert premises.run(script) == (0, "Completed\nCompleted\n", "")
    assert premises.is_deserted()
