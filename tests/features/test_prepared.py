"""Prepared statements: planned once per connection, and given up behind a pooler."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from features.prepared import PlansLostError, Prepared, committing, run, send

MARK = Prepared("mark", "INSERT INTO marks VALUES (:n)", n="integer")
COUNT = Prepared("count_marks", "SELECT count(*), :said FROM marks", said="text")


@pytest.fixture
def marks(engine: sa.Engine) -> Iterator[sa.Engine]:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE marks (n integer CHECK (n > 0))"))
    yield engine
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE marks"))


def plans(connection: sa.Connection) -> set[str]:
    return set(connection.scalars(sa.text("SELECT name FROM pg_prepared_statements")))


def test_a_message_is_prepared_once_and_says_what_its_last_statement_says(
    marks: sa.Engine,
) -> None:
    for round_ in (1, 2, 3):
        with marks.begin() as connection:
            said = send(connection, {"n": round_, "said": "it's 100%"}, MARK, COUNT).one()
            assert tuple(said) == (round_, "it's 100%")
            assert plans(connection) == {"mark", "count_marks"}


def test_a_message_that_fails_leaves_its_plans_and_no_rows(marks: sa.Engine) -> None:
    for _ in range(2):
        with marks.connect() as connection:
            send(connection, {"n": 1}, MARK)
            with pytest.raises(sa.exc.IntegrityError):
                send(connection, {"n": 0, "said": ""}, MARK, COUNT)
    with marks.begin() as connection:
        assert send(connection, {"said": ""}, COUNT).one()[0] == 0


@pytest.mark.parametrize("loss", ["DEALLOCATE ALL", "PREPARE mark AS SELECT 1"])
def test_a_pooler_is_found_by_its_refusal(marks: sa.Engine, loss: str) -> None:
    with marks.connect() as connection:
        if loss.startswith("DEALLOCATE"):  # the server connection of another client
            send(connection, {"n": 1}, MARK)
        connection.execute(sa.text(loss))
        connection.rollback()
        with pytest.raises(PlansLostError):
            send(connection, {"n": 2, "said": ""}, MARK, COUNT)
    with marks.begin() as connection:
        assert send(connection, {"n": 2, "said": "%"}, MARK, COUNT).one()[0] == 1


def test_each_call_of_a_message_has_values_of_its_own(marks: sa.Engine) -> None:
    with committing(marks).connect() as connection:
        for _ in range(2):
            run(connection, (MARK, {"n": 1}), (MARK, {"n": 2}))
        with pytest.raises(sa.exc.IntegrityError):
            run(connection, (MARK, {"n": 3}), (MARK, {"n": 0}))  # neither: one transaction
        assert plans(connection) == {"mark"}
        assert run(connection, (COUNT, {"said": ""})).one()[0] == 4
    marks.dispose()
    with marks.connect() as connection:  # a refusal would end the transaction: nothing is prepared
        run(connection, (MARK, {"n": 5}))
        assert plans(connection) == set()
        connection.rollback()
        assert run(connection, (COUNT, {"said": ""})).one()[0] == 4


@pytest.mark.parametrize("loss", ["DEALLOCATE ALL", "PREPARE mark AS SELECT 1"])
def test_behind_a_pooler_a_message_goes_out_in_full(marks: sa.Engine, loss: str) -> None:
    with committing(marks).connect() as connection:
        if loss.startswith("DEALLOCATE"):
            run(connection, (MARK, {"n": 1}))
        connection.execute(sa.text(loss))
        for n in (2, 3):
            run(connection, (MARK, {"n": n}), (MARK, {"n": n}))
        said = run(connection, (COUNT, {"said": "%"})).one()
    assert tuple(said) == (5 if loss.startswith("DEALLOCATE") else 4, "%")
