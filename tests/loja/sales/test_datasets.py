"""Stored sums."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier, Thread

import psycopg
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from loja.sales import datasets, tables
from loja.sales.datasets import Answer, Source
from loja.sales.encoding import survey
from loja.sales.files import SalesFile
from loja.sales.summary import Summary, summarise

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def source(number: int, name: str = "vendas.csv") -> Source:
    """The source of the job that was created as the number-th."""
    return Source(name, "uploaded", f"job-{number}", NOON + timedelta(seconds=number))


def summary_of(*rows: str) -> Summary:
    content = "\n".join(("date,region,product,quantity,unit_price", *rows)).encode()
    stream = io.BytesIO(content)
    return summarise(SalesFile("vendas.csv", "uploaded", stream, survey(stream)), lambda *_: None)


def store(engine: Engine, origin: Source, *rows: str) -> bool:
    with Session(engine) as session, session.begin():
        return datasets.replace(session, origin, summary_of(*rows))


def ask(engine: Engine, region: str = "sul", month: str = "2025-01") -> Answer:
    with Session(engine) as session:
        return datasets.ask(session, region, month)


def test_an_empty_shop_answers_zero(shop_engine: Engine) -> None:
    answer = ask(shop_engine)
    assert (answer.files, answer.overall.sales, answer.products) == (0, 0, {})


def test_sums_of_all_files_are_added_and_the_largest_product_is_first(shop_engine: Engine) -> None:
    first = ("2025-01-01,sul,Livro,1,10", "2025-01-02,sul,Pão,1,12", "2025-01-02,norte,X,1,1")
    store(shop_engine, source(1, "a.csv"), *first)
    store(shop_engine, source(2, "b.csv"), "2025-01-03,sul,Livro,2,10", "2025-02-03,sul,Livro,2,10")
    answer = ask(shop_engine)
    assert answer.files == 2
    assert [(name, group.sales, group.amount) for name, group in answer.products.items()] == [
        ("Livro", 2, Decimal(30)),
        ("Pão", 1, Decimal(12)),
    ]
    assert (answer.overall.sales, answer.overall.quantity, answer.overall.amount) == (3, 4, Decimal(42))


def test_a_newer_job_replaces_the_whole_data_set(shop_engine: Engine) -> None:
    assert store(shop_engine, source(1), "2025-01-01,sul,Livro,1,10", "2025-03-01,sul,Livro,1,10")
    assert store(shop_engine, source(2), "2025-01-01,sul,Livro,1,7")
    assert ask(shop_engine).overall.amount == Decimal(7)
    assert ask(shop_engine, month="2025-03").overall.sales == 0


def test_an_older_job_that_finishes_later_changes_nothing(shop_engine: Engine) -> None:
    assert store(shop_engine, source(2), "2025-01-01,sul,Livro,1,7")
    assert not store(shop_engine, source(1), "2025-01-01,sul,Livro,1,10")
    assert ask(shop_engine).overall.amount == Decimal(7)


def test_the_same_job_may_store_again(shop_engine: Engine) -> None:
    for _ in range(2):
        assert store(shop_engine, source(1), "2025-01-01,sul,Livro,1,7")
    assert ask(shop_engine).overall.amount == Decimal(7)


def test_a_rollback_leaves_the_former_data_set(shop_engine: Engine) -> None:
    store(shop_engine, source(1), "2025-01-01,sul,Livro,1,7")
    with Session(shop_engine) as session:
        assert datasets.replace(session, source(2), summary_of("2025-01-01,sul,Livro,1,10"))
        session.rollback()
    assert ask(shop_engine).overall.amount == Decimal(7)


def test_of_jobs_that_store_at_once_the_newest_wins(shop_engine: Engine) -> None:
    start = Barrier(8)

    def work(number: int) -> None:
        start.wait()
        store(shop_engine, source(number), f"2025-01-01,sul,Livro,1,{number}")

    threads = [Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answer = ask(shop_engine)
    assert (answer.overall.sales, answer.overall.amount) == (1, Decimal(8))


def test_tables_can_be_created_again(shop_engine: Engine) -> None:
    store(shop_engine, source(1), "2025-01-01,sul,Livro,1,7")
    url = shop_engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        tables.create(connection)
    assert ask(shop_engine).overall.sales == 1
