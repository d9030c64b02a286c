"""The store itself: every public method is one transaction, so a crash leaves all of it or nothing.

    apply    1. insert the operation ids, "on conflict do nothing", and learn which were new
             2. read the profiles and standings that the new ones touch (locked where the engine locks rows)
             3. compute in Python (`model.advance`), write back by version

Only step 1 decides whether a result counts, and it commits with the rest: that is all of "exactly once".
Synchronous, and for one thread at a time: `service` sees to that. The statements are the same for SQLite
and PostgreSQL.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from profiles import engine_sqlite, model
from profiles.model import LeaderboardRow, MatchResult, MatchRow, Profile, ProfileNotFound, Standing
from profiles.tables import accounts, match_results, profiles, standings

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

_IN_MAX = 500  # values in one IN (...)
_STANDING = [field.name for field in attrs.fields(Standing)]
_MATCH_ROW = [match_results.c[field.name] for field in attrs.fields(MatchRow)]

T = TypeVar("T")


@attrs.frozen
class Store:
    engine: sa.Engine
    where: str  # for error messages

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Opens or makes the SQLite file at `path` and migrates it. Raises ProfileStoreError."""
        return cls(engine_sqlite.open_engine(path), str(path))

    def close(self) -> None:
        self.engine.dispose()

    # Every method below raises ProfileStoreError (or ProfileStoreBusy) and then has changed nothing.

    def guests(self, logins: Sequence[tuple[bytes, str]], now_s: float) -> list[Profile]:
        """Logs in (device hash, clean name) pairs in order, registers the unknown; a name "" keeps what
        is."""
        names: dict[bytes, str] = {}
        for device, name in logins:
            names[device] = name or names.get(device, "")
        with engine_sqlite.typed_errors(self.where), engine_sqlite.writing(self.engine).begin() as db:
            found = _profiles_by_device(db, names)
            missing = [device for device in names if device not in found]
            if missing:
                found |= _register(db, missing, names, now_s)
                # Another process was faster (only where writers do not wait for each other from the start).
                found |= _profiles_by_device(db, [device for device in missing if device not in found])
            for device, name in names.items():
                if name and found[device].name != name:
                    found[device] = _rename(db, found[device].account, name, now_s)
        return [found[device] for device, _ in logins]

    def apply(self, batches: Sequence[Sequence[MatchResult]], now_s: float) -> list[int]:
        """Applies each result whose operation id is new, once; returns how many were new in each batch."""
        wanted: dict[str, tuple[int, MatchResult]] = {}
        for index, batch in enumerate(batches):
            for result in batch:
                wanted.setdefault(result.op_id, (index, result))
        new = [0] * len(batches)
        if not wanted:
            return new
        with engine_sqlite.typed_errors(self.where), engine_sqlite.writing(self.engine).begin() as db:
            fresh_ids = _insert_results(db, [result for _, result in wanted.values()], now_s)
            fresh = [result for op_id, (_, result) in wanted.items() if op_id in fresh_ids]
            known = _update_profiles(db, fresh, now_s)
            _update_standings(db, [result for result in fresh if result.account in known])
        for op_id in fresh_ids:
            new[wanted[op_id][0]] += 1
        return new

    def profile(self, account: str) -> Profile:
        """Raises ProfileNotFound."""
        rows = self._read(sa.select(profiles).where(profiles.c.account == account))
        if not rows:
            raise ProfileNotFound(f"no account {account!r}")
        return _profile(rows[0])

    def history(self, account: str, limit: int) -> list[MatchRow]:
        """The newest first."""
        by = match_results.c
        rows = self._read(
            sa.select(*_MATCH_ROW)
            .where(by.account == account)
            .order_by(by.applied_s.desc(), by.room, by.match.desc())
            .limit(limit)
        )
        return [MatchRow(**row._mapping) for row in rows]

    def leaderboard(self, board: str, limit: int, game: str | None) -> list[LeaderboardRow]:
        """The highest first, of those who have played a match (of that game)."""
        table = profiles if game is None else standings
        value = table.c[board]
        query = sa.select(table.c.account, profiles.c.name, value.label("value"), table.c.matches)
        if game is not None:
            query = query.join(profiles, profiles.c.account == standings.c.account).where(standings.c.game == game)
        rows = self._read(query.where(table.c.matches > 0).order_by(value.desc(), table.c.account.desc()).limit(limit))
        board_rows: list[LeaderboardRow] = []
        for place, row in enumerate(rows, 1):
            tied = bool(board_rows) and board_rows[-1].value == row.value
            board_rows.append(LeaderboardRow(rank=board_rows[-1].rank if tied else place, **row._mapping))
        return board_rows

    def count(self) -> int:
        return int(self._read(sa.select(sa.func.count()).select_from(accounts))[0][0])

    def _read(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with engine_sqlite.typed_errors(self.where), self.engine.begin() as db:
            return db.execute(query).all()


def _insert(db: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """INSERT with ON CONFLICT, which both dialects have, each in a class of its own."""
    if db.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # with all of its drivers: not for those who have SQLite

    return postgresql.insert(table)


def _slices(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while part := list(islice(rest, _IN_MAX)):
        yield part


def _profile(row: sa.Row[Any]) -> Profile:
    return Profile(**row._mapping)


def _profiles_by_device(db: sa.Connection, devices: Iterable[bytes]) -> dict[bytes, Profile]:
    join = sa.select(accounts.c.device_hash, profiles).join(profiles, profiles.c.account == accounts.c.id)
    found = {}
    for part in _slices(devices):
        for row in db.execute(join.where(accounts.c.device_hash.in_(part))).mappings():
            fields = dict(row)
            device = fields.pop("device_hash")
            found[device] = Profile(**fields)
    return found


def _register(db: sa.Connection, devices: list[bytes], names: dict[bytes, str], now_s: float) -> dict[bytes, Profile]:
    rows = [{"id": secrets.token_hex(16), "device_hash": device, "created_s": now_s} for device in devices]
    insert = _insert(db, accounts).on_conflict_do_nothing(index_elements=["device_hash"])
    made = {
        device: Profile(
            account=account, name=names[device] or model.guest_name(account), created_s=now_s, updated_s=now_s
        )
        for account, device in db.execute(insert.returning(accounts.c.id, accounts.c.device_hash), rows)
    }
    if made:
        db.execute(profiles.insert(), [attrs.asdict(profile, recurse=False) for profile in made.values()])
    return made


def _rename(db: sa.Connection, account: str, name: str, now_s: float) -> Profile:
    update = profiles.update().where(profiles.c.account == account).returning(profiles)
    return _profile(db.execute(update.values(name=name, version=profiles.c.version + 1, updated_s=now_s)).one())


def _insert_results(db: sa.Connection, results: list[MatchResult], now_s: float) -> set[str]:
    """Returns the operation ids that were new. In their order: so two writers cannot wait in a circle."""
    rows = [
        {**attrs.asdict(result, recurse=False), "applied_s": now_s}
        for result in sorted(results, key=lambda result: result.op_id)
    ]
    insert = _insert(db, match_results).on_conflict_do_nothing(index_elements=["op_id"])
    return set(db.execute(insert.returning(match_results.c.op_id), rows).scalars())


def _update_profiles(db: sa.Connection, results: list[MatchResult], now_s: float) -> set[str]:
    """Returns the accounts that exist."""
    of_account: dict[str, list[MatchResult]] = defaultdict(list)
    for result in results:
        of_account[result.account].append(result)
    query = sa.select(profiles).order_by(profiles.c.account).with_for_update()
    known = {
        row.account: _profile(row)
        for part in _slices(sorted(of_account))
        for row in db.execute(query.where(profiles.c.account.in_(part)))
    }
    changes = []
    for account, profile in known.items():
        after = profile
        for result in of_account[account]:
            after = model.advance(after, result)
            after = attrs.evolve(after, stats=model.sum_stats(after.stats, result.stats))
        change = {name: getattr(after, name) for name in (*_STANDING, "stats")}
        changes.append(
            {
                **change,
                "of": account,
                "seen": profile.version,
                "version": profile.version + 1,
                "updated_s": now_s,
            }
        )
    if changes:
        update = profiles.update().where(
            profiles.c.account == sa.bindparam("of"), profiles.c.version == sa.bindparam("seen")
        )
        names = [*_STANDING, "stats", "version", "updated_s"]
        done = db.execute(update.values({name: sa.bindparam(name) for name in names}), changes)
        assert done.rowcount == len(changes), "a profile changed under its lock"
    return set(known)


def _update_standings(db: sa.Connection, results: list[MatchResult]) -> None:
    of_game: dict[str, dict[str, Standing]] = defaultdict(dict)
    for result in results:
        of_game[result.game][result.account] = Standing()
    for game, players in of_game.items():
        query = sa.select(standings).where(standings.c.game == game)
        for part in _slices(sorted(players)):
            for row in db.execute(query.where(standings.c.account.in_(part))):
                players[row.account] = Standing(**{name: getattr(row, name) for name in _STANDING})
    for result in results:
        players = of_game[result.game]
        players[result.account] = model.advance(players[result.account], result)
    rows = [
        {"account": account, "game": game, **attrs.asdict(standing)}
        for game, players in of_game.items()
        for account, standing in sorted(players.items())
    ]
    if rows:
        insert = _insert(db, standings)
        after = {name: insert.excluded[name] for name in _STANDING}
        db.execute(insert.on_conflict_do_update(index_elements=["account", "game"], set_=after), rows)
