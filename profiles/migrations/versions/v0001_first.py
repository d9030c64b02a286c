"""Accounts by device secret, profiles, standings by game, match results."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("device_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("device_hash", name="uq_accounts_device_hash"),
    )
    op.create_table(
        "profiles",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("rating", sa.BigInteger, nullable=False),
        sa.Column("xp", sa.BigInteger, nullable=False),
        sa.Column("matches", sa.BigInteger, nullable=False),
        sa.Column("wins", sa.BigInteger, nullable=False),
        sa.Column("best", sa.BigInteger, nullable=False),
        sa.Column("stats", sa.JSON, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("inventory", sa.JSON, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("updated_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("account", name="pk_profiles"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_profiles_account", ondelete="CASCADE"),
    )
    op.create_table(
        "standings",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("game", sa.Text, nullable=False),
        sa.Column("rating", sa.BigInteger, nullable=False),
        sa.Column("xp", sa.BigInteger, nullable=False),
        sa.Column("matches", sa.BigInteger, nullable=False),
        sa.Column("wins", sa.BigInteger, nullable=False),
        sa.Column("best", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "game", name="pk_standings"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_standings_account", ondelete="CASCADE"),
    )
    op.create_table(
        "match_results",
        sa.Column("op_id", sa.Text, nullable=False),
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
        sa.PrimaryKeyConstraint("op_id", name="pk_match_results"),
    )
    op.create_index("ix_match_results_account_applied_s", "match_results", ["account", "applied_s"])
    for board in ("rating", "xp", "wins", "best"):
        op.create_index(f"ix_profiles_{board}_account", "profiles", [board, "account"])
        op.create_index(f"ix_standings_game_{board}_account", "standings", ["game", board, "account"])
