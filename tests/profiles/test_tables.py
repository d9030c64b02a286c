from pathlib import Path

import alembic.autogenerate
import alembic.migration
import alembic.script
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

import profiles.migrations
from profiles import model, tables
from profiles.store import Store


def test_the_migrations_lead_to_exactly_these_tables(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "p.db")
    with store.engine.connect() as db:
        context = alembic.migration.MigrationContext.configure(
            db, opts={"version_table": tables.VERSION_TABLE, "compare_type": True}
        )
        assert alembic.autogenerate.compare_metadata(context, tables.METADATA) == []
        assert context.get_current_revision() == tables.SCHEMA
    store.close()


def test_schema_is_the_newest_revision() -> None:
    folder = Path(profiles.migrations.__file__).parent
    assert alembic.script.ScriptDirectory(str(folder)).get_heads() == [tables.SCHEMA]


def test_every_board_has_an_index_on_both_tables() -> None:
    for board in model.BOARDS:
        for table, columns in (
            (tables.profiles, [board, "account"]),
            (tables.standings, ["game", board, "account"]),
        ):
            assert columns in [[column.name for column in index.columns] for index in table.indexes]


def test_the_schema_can_be_said_in_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in tables.METADATA.sorted_tables:
        assert str(sa.schema.CreateTable(table).compile(dialect=dialect)).strip().startswith("CREATE TABLE")
