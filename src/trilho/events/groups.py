"""Consumer groups as administration sees them: PostgreSQL's offsets are the truth, the log knows who else reads."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trilho.db.pool import Connection, Database, brief_transaction
from trilho.db.sql import beside
from trilho.errors import GroupActive, UnknownGroup
from trilho.events.log_admin import LogAdmin, LogGroup
from trilho.events.progress import Counts, Progress, completed, group_of, lag_of
from trilho.events.reset import ResetTarget, placed
from trilho.events.rows import rows_as
from trilho.events.store import rows_json
from trilho.events.views import GroupView, LagView, MemberView, ResetView

SQL = beside(__file__, "groups.sql")
LOCKS_FOR = 10.0


@dataclass(frozen=True)
class Groups:
    """Looks at the groups of `log`, and at what they have left to read in an older one."""

    database: Database
    log: LogAdmin
    older: LogAdmin | None = None

    # ---- looking

    def all(self) -> list[GroupView]:
        """All groups that have read something, those of other programs too."""
        known = self.log.groups(None)
        rows = self._progress(group=None)
        lags = self._lags(rows, known)
        counts = self._counts(sorted(lags))
        ours = {row.group for row in rows}
        return [
            group_of(name, lags[name], known.get(name), counts[name], foreign=name not in ours) for name in sorted(lags)
        ]

    def lag(self, group: str) -> list[LagView]:
        """Each partition of a group; raises UnknownGroup."""
        found = self._lags(self._progress(group=group), self.log.groups([group])).get(group)
        if not found:
            raise UnknownGroup(group)
        return found

    def members(self, group: str) -> list[MemberView]:
        """Who reads for a group now: our processes, then members that only the log knows."""
        known = self.log.groups([group]).get(group, LogGroup())
        return [*rows_as(self.database, MemberView, SQL["live_members"], group=group), *known.members]

    def _progress(self, group: str | None) -> list[Progress]:
        return rows_as(self.database, Progress, SQL["progress"], group=group)

    def _lags(self, rows: Sequence[Progress], known: Mapping[str, LogGroup]) -> dict[str, list[LagView]]:
        found: dict[str, list[LagView]] = defaultdict(list)
        if self.older is not None:
            for group, lag in self._lags_in(self.older, rows, {}):
                if lag.lag:
                    found[group].append(lag)
        for group, lag in self._lags_in(self.log, rows, known):
            found[group].append(lag)
        return dict(found)

    def _lags_in(
        self, log: LogAdmin, rows: Sequence[Progress], known: Mapping[str, LogGroup]
    ) -> Iterator[tuple[str, LagView]]:
        own = [row for row in rows if row.log.startswith(f"{log.kind}:")]
        topics = {row.topic for row in own} | {topic for group in known.values() for topic, _ in group.committed}
        present = completed(own, known, log.identities(topics))
        ends = log.ends({row.place for row in present})
        for row in present:
            yield row.group, lag_of(row, log.kind, ends.get(row.place, row.offset), known.get(row.group))

    def _counts(self, groups: Sequence[str]) -> dict[str, Counts]:
        rows = self.database.run(lambda c: c.execute(SQL["counts"], {"groups": list(groups)}).fetchall())
        return {row[0]: Counts(*row[1:]) for row in rows}

    # ---- moving

    def reset(self, group: str, topic: str, target: ResetTarget, dry_run: bool = False) -> list[ResetView]:
        """Let a group read from another place; raises UnknownGroup, GroupActive."""
        if not dry_run and (names := [_named(member) for member in self.members(group)]):
            raise GroupActive(group, names)
        identity = self.log.identities([topic]).get(topic, "")
        places = self._places(topic, target)
        where = {"group": group, "topic": topic, "log": identity}
        with self.database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            before = self._before(connection, where)
            moves = [
                ResetView(topic=topic, partition=number, before=before[number], to=to)
                for number, to in places.items()
                if number in before
            ]
            if moves and not dry_run:
                self._move(connection, where, moves)
        if not moves:
            raise UnknownGroup(group)
        return moves

    def _places(self, topic: str, target: ResetTarget) -> dict[int, int]:
        extents = {number: extent for (_, number), extent in self.log.extents([topic]).items()}
        if target.partition is not None:
            extents = {number: extent for number, extent in extents.items() if number == target.partition}
        at = self.log.offsets_at(topic, list(extents), target.time) if target.time is not None and extents else {}
        return {number: placed(target, extent, at.get(number)) for number, extent in sorted(extents.items())}

    def _before(self, connection: Connection, where: Mapping[str, str]) -> dict[int, int]:
        known = self.log.groups([where["group"]]).get(where["group"], LogGroup())
        told = {number: offset for (topic, number), offset in known.committed.items() if topic == where["topic"]}
        return told | dict(connection.execute(SQL["lock_offsets"], where).fetchall())

    def _move(self, connection: Connection, where: Mapping[str, str], moves: Sequence[ResetView]) -> None:
        # The log first: it refuses while it knows members. Killed in between, its copy of the offsets is wrong until
        # the reset is done again or a member of ours commits; ours are not.
        self.log.commit(where["group"], where["topic"], {move.partition: move.to for move in moves})
        self.database.faults.hit("reset.before_commit")
        rows = [{"partition": move.partition, "to": move.to} for move in moves]
        connection.execute(SQL["reset"], {**where, "rows": rows_json(rows)})
        connection.execute(SQL["clear_parked"], {**where, "partitions": [move.partition for move in moves]})


def _named(member: MemberView) -> str:
    return f"{member.name} at {member.hostname}, foreign" if member.foreign else member.name
