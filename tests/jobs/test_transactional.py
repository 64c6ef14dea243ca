"""`transactional=True`: what the body wrote and the end of its job are one commit."""

from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord
from sqlalchemy import text

from tests.jobs.shop import Query
from tests.lab.transactions import end_inside
from trilho import Trilho, Tx
from trilho.testing import Harness

DEFERRED = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('refusals') <= 1 THEN RAISE EXCEPTION 'refused at the commit' USING errcode = '{sqlstate}'; END IF;
    RETURN NULL;
END $$
"""


@pytest.fixture
def effects(query: Query) -> Any:
    """The effects that exist."""
    query("CREATE TABLE effects (name text)")
    return lambda: [name for (name,) in query("SELECT name FROM effects ORDER BY name")]


@pytest.fixture(params=["40001", "40P01", "23514"], ids=["serialization failure", "deadlock", "constraint"])
def refusal(request: pytest.FixtureRequest, query: Query, effects: Any) -> str:
    """The first commit that holds an effect is refused with this SQL state."""
    query("CREATE SEQUENCE refusals")
    query(DEFERRED.format(sqlstate=request.param))
    query(
        "CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    return str(request.param)


def write(tx: Tx, name: str) -> None:
    tx.session.execute(text("INSERT INTO effects VALUES (:name)"), {"name": name})


def test_effect_and_end_are_one_commit(app: Trilho, trilho: Harness, query: Query, effects: Any) -> None:
    @app.task(transactional=True)
    def work(name: str, *, tx: Tx) -> str:
        write(tx, name)
        return name

    result = work.delay("a")
    trilho.run_until_idle()
    assert (effects(), result.get(timeout=1)) == (["a"], "a")
    assert query(
        "SELECT count(DISTINCT xmin::text) FROM (SELECT xmin FROM effects UNION ALL SELECT xmin FROM trilho.jobs) x"
    ) == [(1,)]


def test_effect_goes_with_a_body_that_fails(app: Trilho, trilho: Harness, effects: Any) -> None:
    @app.task(transactional=True)
    def work(tx: Tx) -> None:
        write(tx, "a")
        raise ValueError("b")

    result = work.delay()
    trilho.run_until_idle()
    assert (effects(), result.state, app.jobs.get(result.id).error) == ([], "FAILURE", "ValueError: b")


@pytest.mark.parametrize("how", ["session", "driver", "ROLLBACK"])
def test_body_that_ends_its_transaction_fails(app: Trilho, trilho: Harness, effects: Any, how: str) -> None:
    @app.task(transactional=True)
    def work(tx: Tx) -> None:
        write(tx, "lost")
        end_inside(tx, how)
        write(tx, "alone")

    result = work.delay()
    trilho.run_until_idle()
    assert (effects(), result.state) == ([], "FAILURE")
    assert "ended inside its block" in str(app.jobs.get(result.id).error)


def test_effect_goes_with_an_attempt_that_retries(app: Trilho, trilho: Harness, effects: Any) -> None:
    @app.task(transactional=True, bind=True)
    def work(self: Any, *, tx: Tx) -> None:
        write(tx, f"attempt {self.request.retries}")
        if self.request.retries == 0:
            raise self.retry(countdown=0)

    result = work.delay()
    trilho.run_until_idle()
    assert (effects(), result.state) == (["attempt 1"], "SUCCESS")


def test_job_enqueued_by_the_body_comes_and_goes_with_the_effect(app: Trilho, trilho: Harness, effects: Any) -> None:
    made: list[Any] = []

    @app.task
    def child() -> None: ...

    @app.task(transactional=True)
    def work(fails: bool, *, tx: Tx) -> None:
        made.append(child.delay())
        if fails:
            raise ValueError

    work.delay(True)
    work.delay(False)
    trilho.run_until_idle()
    assert [result.exists() for result in made] == [False, True]


def test_job_enqueued_by_the_failure_handler_outlives_the_rollback(app: Trilho, trilho: Harness, effects: Any) -> None:
    seen: list[str] = []

    @app.task
    def alarm(job_id: str) -> None:
        seen.append(job_id)

    class Base(app.Task):  # type: ignore[misc, name-defined]
        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            alarm.delay(task_id)

    @app.task(transactional=True, base=Base)
    def work(*, tx: Tx) -> None:
        write(tx, "a")
        raise ValueError

    result = work.delay()
    trilho.run_until_idle()
    assert (effects(), seen) == ([], [result.id])


def test_constraint_that_a_flush_finds_is_the_bodys_own_error(app: Trilho, trilho: Harness, query: Query) -> None:
    query("CREATE TABLE names (name text PRIMARY KEY)")

    @app.task(transactional=True)
    def work(*, tx: Tx) -> None:
        for _ in range(2):
            tx.session.execute(text("INSERT INTO names VALUES ('a')"))

    result = work.delay()
    trilho.run_until_idle()
    assert "UniqueViolation" in str(app.jobs.get(result.id).error)
    assert query("SELECT count(*) FROM names") == [(0,)]


def test_commit_that_is_refused_decides_once(app: Trilho, trilho: Harness, effects: Any, refusal: str) -> None:
    """A serialization failure or a deadlock is nobody's attempt; anything else is the failure of the job."""
    seen: list[str] = []

    @app.task
    def then() -> None:
        seen.append("linked")

    @app.task
    def broken(job_id: str) -> None:
        seen.append("broken")

    @app.task(transactional=True)
    def work(*, tx: Tx) -> None:
        write(tx, "a")

    result = work.apply_async(link=then.si(), link_error=broken.s())
    trilho.run_until_idle()
    trilho.advance(seconds=5)
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    if refusal == "23514":
        assert (job.state, effects(), seen) == ("FAILURE", [], ["broken"])
        assert "refused at the commit" in str(job.error)
    else:
        assert (job.state, effects(), seen) == ("SUCCESS", ["a"], ["linked"])
        assert (job.retries, job.crash_count, job.attempt) == (0, 0, 2)


def test_canvas_around_a_refused_commit_goes_on_or_ends(
    app: Trilho, trilho: Harness, effects: Any, refusal: str
) -> None:
    @app.task(transactional=True)
    def work(*, tx: Tx) -> int:
        write(tx, "a")
        return 1

    @app.task
    def total(values: Any) -> Any:
        return values

    linked = chain(work.s(), total.s()).apply_async()
    fanned = chord([work.s(), work.s()])(total.s())
    for _ in range(3):
        trilho.run_until_idle()
        trilho.advance(seconds=5)
    if refusal == "23514":
        assert (linked.state, fanned.state) == ("FAILURE", "SUCCESS")
        assert (effects(), fanned.get(timeout=1)) == (["a", "a"], [1, 1])
    else:
        assert (linked.get(timeout=1), fanned.get(timeout=1), effects()) == (1, [1, 1], ["a", "a", "a"])


def test_member_of_a_chord_whose_commit_is_refused_fails_the_chord(
    app: Trilho, trilho: Harness, effects: Any, refusal: str
) -> None:
    @app.task(transactional=True)
    def work(*, tx: Tx) -> int:
        write(tx, "a")
        return 1

    @app.task
    def total(values: Any) -> Any:
        return values

    fanned = chord([work.s(), work.s()])(total.s())
    for _ in range(3):
        trilho.run_until_idle()
        trilho.advance(seconds=5)
    assert fanned.state == ("FAILURE" if refusal == "23514" else "SUCCESS")


def test_attempt_whose_claim_was_lost_leaves_nothing(app: Trilho, trilho: Harness, query: Query, effects: Any) -> None:
    seen: list[str] = []

    @app.task
    def then() -> None:
        seen.append("linked")

    @app.task(transactional=True, bind=True)
    def work(self: Any, *, tx: Tx) -> str:
        write(tx, "a")
        query("UPDATE trilho.jobs SET claim_token = %s WHERE id = %s", uuid4(), self.request.id)
        return "mine"

    result = work.apply_async(link=then.si())
    trilho.run_until_idle()
    job = app.jobs.get(result.id)
    assert (job.state, job.result, effects(), seen) == ("STARTED", None, [], [])


def test_attempt_whose_job_was_finished_by_another_leaves_nothing(
    app: Trilho, trilho: Harness, query: Query, effects: Any
) -> None:
    @app.task(transactional=True, bind=True)
    def work(self: Any, *, tx: Tx) -> str:
        write(tx, "a")
        query(
            "UPDATE trilho.jobs SET state = 'SUCCESS', result = '\"other\"', finished_at = now(), claim_token = %s"
            " WHERE id = %s",
            uuid4(),
            self.request.id,
        )
        return "mine"

    result = work.delay()
    trilho.run_until_idle()
    assert (result.get(timeout=1), effects()) == ("other", [])


def test_transaction_of_a_body_bears_its_token(app: Trilho, trilho: Harness, query: Query) -> None:
    seen: list[Any] = []

    @app.task(transactional=True, bind=True)
    def work(self: Any, *, tx: Tx) -> None:
        [(token,)] = query("SELECT claim_token FROM trilho.jobs WHERE id = %s", self.request.id)
        row = tx.connection.execute("SELECT current_setting('application_name')").fetchone()
        seen.append((row and row[0]) == f"trilho:{token}")

    work.delay()
    trilho.run_until_idle()
    assert seen == [True]
    with app.database.connection() as connection:
        row = connection.execute("SELECT current_setting('application_name')").fetchone()
    assert row == ("",)


def test_body_without_the_parameter_has_the_ambient_transaction(app: Trilho, trilho: Harness, effects: Any) -> None:
    @app.task(transactional=True)
    def work() -> None:
        with app.transaction() as tx:  # the one of the job: a savepoint in it
            write(tx, "a")
        raise ValueError

    work.delay()
    trilho.run_until_idle()
    assert effects() == []


def test_direct_call_is_a_transaction_of_its_own(app: Trilho, effects: Any) -> None:
    @app.task(transactional=True)
    def work(name: str, *, tx: Tx) -> str:
        write(tx, name)
        return name

    assert work("a") == "a"
    assert effects() == ["a"]


def test_transaction_is_no_argument_of_the_caller(app: Trilho, query: Query) -> None:
    @app.task(transactional=True)
    def work(name: str, *, tx: Tx) -> None: ...

    with pytest.raises(TypeError):
        work.delay("a", tx=None)
    with pytest.raises(TypeError):
        work.delay()
    work.delay("a")
    assert query("SELECT args, kwargs FROM trilho.jobs") == [('["a"]', "{}")]
