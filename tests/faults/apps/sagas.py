"""What the workers of the fault tests of sagas run: each effect is one row, written by a step's or an undo's own
transaction; and calls to the outside, which no transaction takes back."""

import os
import signal

from tests.lab import database
from trilho import PermanentError, Retry, Saga, SagaTimeout, Trilho, Tx

app = Trilho("lab")
TABLES = (
    "CREATE TABLE moves (number bigint GENERATED ALWAYS AS IDENTITY, saga text, what text)",
    "CREATE TABLE calls (saga text, what text)",
)
BAD = "bad"


def move(run: str, what: str, tx: Tx) -> str:
    """An effect."""
    tx.session.connection().exec_driver_sql("INSERT INTO moves (saga, what) VALUES (%s, %s)", (run, what))
    return what


def back(run: str, what: str, tx: Tx) -> None:
    """Its undo."""
    move(run, f"undo {what}", tx)


@app.task(transactional=True)
def book(run: str, what: str, tx: Tx) -> str:
    """An effect of a task."""
    return move(run, what, tx)


@app.task(transactional=True)
def unbook(run: str, what: str, tx: Tx) -> None:
    """Its undo."""
    back(run, what, tx)


def call(run: str, what: str) -> str:
    """An effect outside of the run's database, as far as its transactions are concerned."""
    with database.connect(str(app.settings.database_url)) as connection:
        connection.execute("INSERT INTO calls (saga, what) VALUES (%s, %s)", (run, what))
    return what


def call_and_die(run: str, what: str) -> None:
    """An effect that kills its process, as one that takes too much memory."""
    call(run, what)
    os.kill(os.getpid(), signal.SIGKILL)


def call_back(run: str, what: str, result: str | None, tx: Tx) -> None:
    """The undo of both."""
    back(run, f"{what}, {'known' if result else 'unknown'}", tx)


def end(kind: str) -> None:
    """The end of some runs."""
    if kind == BAD:
        raise PermanentError("this one is undone")


@app.saga(retry=Retry(attempts=100, delay=0.05, longest=0.1))
async def hotel(saga: Saga, run: str) -> str:
    """A saga that others call."""
    await saga.step(move, run, "room", undo=back)
    return await saga.step(book, run, "breakfast", undo=unbook)


@app.saga(events=("paid",))
async def purchase(saga: Saga, run: str) -> int:
    """A saga that waits for an event."""
    paid = await saga.wait_event("paid", key=run)
    await saga.step(move, run, f"paid {paid['amount']}")
    return int(paid["amount"])


@app.saga
async def taxi(saga: Saga, run: str) -> None:
    """A saga whose step ends every process that it comes to."""
    await saga.step(move, run, "coat", undo=back)
    await saga.step(call_and_die, run, "taxi", undo=call_back)


@app.saga(retry=Retry(attempts=100, delay=0.05, longest=0.1))
async def trip(saga: Saga, run: str, kind: str) -> list[str]:
    """Everything that a saga can do."""
    flight = await saga.step(move, run, "flight", undo=back)
    car, train = await saga.gather(saga.step(book, run, "car", undo=unbook), saga.step(move, run, "train", undo=back))
    try:
        await saga.wait_signal("never", timeout=0.2)
    except SagaTimeout:
        breakfast = await saga.call(hotel, run)
    await saga.sleep(0.1)
    await saga.step(call, run, "taxi", undo=call_back)
    await saga.step(end, kind)
    return [flight, car, train, breakfast]
