import psycopg, pytest
from sqlalchemy import text
from celery import chain, chord, group
from celery.exceptions import Ignore, Reject

def ids(app):
    return {j.id: (j.task.rpartition(".")[2], j.state, j.error, j.args) for j in app.jobs.list().items}

def test_simple(app, trilho):
    @app.task
    def add(x, y): return x + y
    r = add.delay(1, 2)
    trilho.assert_enqueued(add, y=2)
    [job] = trilho.run_until_idle()
    assert r.get() == 3
    assert job.state == "SUCCESS"

def test_savepoint_keeps_earlier(app, trilho):
    @app.task
    def add(x): return x
    with app.transaction() as tx:
        a = add.delay(1)
        try:
            with tx.session.begin_nested():
                add.delay(2)
                raise KeyError
        except KeyError: pass
    assert a.exists()

def test_flush_error_in_savepoint(app, trilho, database):
    with psycopg.connect(database) as c: c.execute("create table t (id int primary key)")
    @app.task
    def add(x): return x
    with app.transaction() as tx:
        a = add.delay(1)
        tx.session.execute(text("insert into t values (1)"))
        try:
            with tx.session.begin_nested():
                add.delay(2)
                tx.session.execute(text("insert into t values (1)"))
        except Exception as e: print(repr(e))
    assert a.exists()

def test_two_levels(app, trilho):
    @app.task
    def add(x): return x
    with app.transaction() as tx:
        a = add.delay(1)
        try:
            with app.transaction():
                b = add.delay(2)
                with app.transaction():
                    c = add.delay(3)
                raise KeyError
        except KeyError: pass
    assert a.exists() and not b.exists() and not c.exists()

def test_connection_in_savepoint(app, trilho):
    @app.task
    def add(x): return x
    with app.transaction() as tx:
        a = add.delay(1)
        try:
            with app.transaction():
                tx.connection.execute("select 1")
                b = add.delay(2)
                raise KeyError
        except KeyError: pass
    assert a.exists() and not b.exists()

@pytest.mark.parametrize("text_", ["\x00", "\ud800"])
def test_nul_error(app, trilho, text_):
    @app.task
    def bad(): raise ValueError("a" + text_)
    r = bad.delay()
    trilho.run_until_idle(limit=10)
    print(app.jobs.get(r.id).error)
    assert r.state == "FAILURE"

def test_chord_of_chain(app, trilho):
    @app.task
    def add(x, y): return x + y
    @app.task
    def total(xs): return sum(xs)
    r = chord([chain(add.s(1, 1), add.s(1)), add.s(2, 2)])(total.s())
    trilho.run_until_idle()
    print(ids(app))
    assert r.get(timeout=1) == 7

def test_chain_with_group(app, trilho):
    @app.task
    def add(x, y): return x + y
    @app.task
    def total(xs): return sum(xs)
    r = chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s(), add.s(5)).apply_async()
    assert r.exists()
    trilho.run_until_idle()
    print(ids(app))
    assert r.get(timeout=1) == 12

def test_cancel_later_link(app, trilho):
    @app.task
    def add(x, y): return x + y
    r = chain(add.s(1, 1), add.s(1)).apply_async()
    app.jobs.cancel(r.id)
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.parent.state == "SUCCESS" and r.state == "REVOKED"

def test_cancel_first_link(app, trilho):
    @app.task
    def add(x, y): return x + y
    r = chain(add.s(1, 1), add.s(1)).apply_async()
    app.jobs.cancel(r.parent.id)
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.ready()

def test_cancel_member(app, trilho):
    @app.task
    def add(x, y): return x + y
    @app.task
    def total(xs): return sum(xs)
    r = chord([add.s(1, 1), add.s(2, 2)])(total.s())
    app.jobs.cancel(r.parent.results[0].id)
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.state == "FAILURE"

def test_expired_member(app, trilho):
    @app.task
    def add(x, y): return x + y
    @app.task
    def total(xs): return sum(xs)
    r = chord([add.s(1, 1).set(expires=60), add.s(2, 2)])(total.s())
    trilho.advance(hours=1)
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.state == "FAILURE"

def test_run_again_chain(app, trilho):
    @app.task
    def add(x, y): return x + y
    trilho.fail(add, ValueError("x"))
    r = chain(add.s(1, 1), add.s(1)).apply_async()
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.state == "FAILURE"
    app.jobs.retry(r.parent.id)
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.state == "SUCCESS"

def test_dup_link(app, trilho):
    @app.task
    def add(x, y=0): return x + y
    add.apply_async((1, 1), link=add.s().set(task_id="x"))
    add.apply_async((1, 2), link=add.s().set(task_id="x"))
    trilho.run_until_idle(limit=10)
    print(ids(app))

def test_unstorable_result_immutable_link(app, trilho):
    calls = []
    @app.task
    def bad(): return object()
    @app.task
    def after(): calls.append(1)
    bad.apply_async(link=after.si())
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert not calls

def test_unstorable_result_link(app, trilho):
    @app.task
    def bad(): return object()
    @app.task
    def after(x): pass
    r = bad.apply_async(link=after.s())
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.state == "FAILURE"

def deferred(database, state):
    with psycopg.connect(database) as c:
        c.execute("create table t (id int)")
        c.execute("create sequence s")
        c.execute(f"""create function f() returns trigger language plpgsql as $$ begin
          if nextval('s') <= 1 then raise exception 'no' using errcode = '{state}'; end if; return null; end $$""")
        c.execute("create constraint trigger g after insert on t deferrable initially deferred for each row execute function f()")

@pytest.mark.parametrize("state", ["40001", "23514"])
def test_commit_error_with_link(app, trilho, database, state):
    from trilho import Tx
    deferred(database, state)
    calls = []
    @app.task(transactional=True)
    def effect(*, tx: Tx): tx.connection.execute("insert into t values (1)")
    @app.task
    def after(): calls.append(1)
    r = effect.apply_async(link=after.si())
    trilho.run_until_idle(limit=10); trilho.advance(seconds=10); trilho.run_until_idle(limit=10)
    print(ids(app), calls)
    assert len(calls) == (1 if state == "40001" else 0)

def test_commit_error_in_chord(app, trilho, database):
    from trilho import Tx
    deferred(database, "23514")
    @app.task(transactional=True)
    def effect(*, tx: Tx): tx.connection.execute("insert into t values (1)")
    @app.task
    def total(xs): return len(xs)
    r = chord([effect.s()])(total.si(1) if False else total.s())
    trilho.run_until_idle(limit=10); trilho.advance(seconds=10); trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.state == "FAILURE"

def test_reject_in_chain(app, trilho):
    @app.task
    def rej(): raise Reject("no", requeue=False)
    @app.task
    def after(x): pass
    r = chain(rej.s(), after.s()).apply_async()
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.state == "FAILURE"

def test_tx_retry_no_throw(app, trilho):
    from trilho import Tx
    calls = []
    @app.task(bind=True, transactional=True)
    def t(self, *, tx: Tx):
        calls.append(1)
        if len(calls) == 1: self.retry(throw=False, countdown=0)
        return 5
    r = t.delay()
    trilho.run_until_idle(limit=10); trilho.advance(seconds=10); trilho.run_until_idle(limit=10)
    print(ids(app), calls)
    assert len(calls) == 2
def test_retry_no_throw(app, trilho):
    calls = []
    @app.task(bind=True)
    def t(self):
        calls.append(1)
        if len(calls) == 1: self.retry(throw=False, countdown=0)
        return 5
    r = t.delay()
    trilho.run_until_idle(limit=10); trilho.advance(seconds=10); trilho.run_until_idle(limit=10)
    print(ids(app), calls)
    assert len(calls) == 2
def test_replace_chain(app, trilho):
    @app.task
    def add(x, y): return x + y
    @app.task(bind=True)
    def t(self): raise self.replace(chain(add.s(1, 1), add.s(5)))
    r = chain(t.s(), add.s(100)).apply_async()
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.get(timeout=1) == 107
def test_replace_group(app, trilho):
    @app.task
    def add(x, y): return x + y
    @app.task
    def total(xs): return sum(xs)
    @app.task(bind=True)
    def t(self): raise self.replace(group(add.s(1, 1), add.s(5, 5)))
    r = chain(t.s(), total.s()).apply_async()
    trilho.run_until_idle(limit=10)
    print(ids(app))
    assert r.get(timeout=1) == 12
def test_max_crashes_of_link(app, trilho, database):
    @app.task(max_crashes=7, max_retries=9)
    def add(x, y): return x + y
    r = chain(add.s(1, 1), add.s(5)).apply_async()
    trilho.run_until_idle(limit=10)
    with psycopg.connect(database) as c:
        print(c.execute("select id, max_crashes, max_retries from trilho.jobs").fetchall())
    assert app.jobs.get(r.id).max_attempts == 10
def test_naive_expires(app, trilho, database):
    import datetime
    with psycopg.connect(database, autocommit=True) as c:
        c.execute(f"alter database {database.rpartition('/')[2]} set timezone = 'America/Sao_Paulo'")
    app.database.close()
    @app.task
    def add(x, y): return x + y
    when = datetime.datetime.utcnow() + datetime.timedelta(hours=1)
    r = add.apply_async((1, 2), expires=when)
    assert abs(app.jobs.get(r.id).expires_at.timestamp() - when.replace(tzinfo=datetime.timezone.utc).timestamp()) < 1
def test_int_eta(app):
    @app.task
    def add(x, y): return x + y
    with pytest.raises((TypeError, ValueError)):
        add.apply_async((1, 2), eta=5)
