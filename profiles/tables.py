"""The schema, one for SQLite and PostgreSQL. `migrations/` leads to exactly this; a test compares the two.

    accounts --1:1-- profiles          who may log in; what a player is
                  \\-- standings        the same five numbers as in a profile, one row for each game played
    match_results                      every operation id ever applied, hence also the history

`match_results` refers to no account on purpose: a late result for an erased player is recorded and changes
nothing, instead of blocking the room that has to deliver it.
"""

import sqlalchemy as sa

SCHEMA = "0001"  # the newest revision under migrations/versions
VERSION_TABLE = "profile_schema"  # holds the revision of a database; also the mark by which we know our own

METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _standing() -> list[sa.Column[int]]:
    names = ("rating", "xp", "matches", "wins", "best")
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


accounts = sa.Table(
    "accounts",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("device_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("created_s", sa.Double, nullable=False),
)

profiles = sa.Table(
    "profiles",
    METADATA,
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    *_standing(),
    sa.Column("stats", sa.JSON, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("inventory", sa.JSON, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("updated_s", sa.Double, nullable=False),
)

standings = sa.Table(
    "standings",
    METADATA,
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("game", sa.Text, primary_key=True),
    *_standing(),
)

match_results = sa.Table(
    "match_results",
    METADATA,
    sa.Column("op_id", sa.Text, primary_key=True),
    sa.Column("room", sa.Text, nullable=False),
    sa.Column("match", sa.BigInteger, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("game", sa.Text, nullable=False),
    sa.Column("score", sa.BigInteger, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("players", sa.Integer, nullable=False),
    sa.Column("won", sa.Boolean, nullable=False),
    sa.Column("stats", sa.JSON, nullable=False),
    sa.Column("ended_tick", sa.BigInteger, nullable=False),
    sa.Column("applied_s", sa.Double, nullable=False),
    sa.Index(None, "account", "applied_s"),
)

# One index for each board (model.BOARDS), so that a leaderboard reads as many rows as it shows.
for _board in ("rating", "xp", "wins", "best"):
    sa.Index(None, profiles.c[_board], profiles.c.account)
    sa.Index(None, standings.c.game, standings.c[_board], standings.c.account)
