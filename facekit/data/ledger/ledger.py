"""The ledger: every answer and every recorded failure, on disk before the next call is made.

SQLite in write-ahead mode: a transaction that was committed survives the process being killed at any moment. One row
per (stage, record, aspect, prompt version), with what else it was asked with. One process at a time may hold a ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from facekit.data.closing import Closing
from facekit.data.ledger.database import Database
from facekit.endpoints.outcomes import ACCEPTED, FAILED, GAVE_UP, REJECTED
from facekit.errors import ConfigurationError

LEDGER_NAME = "ledger.sqlite"
"""File name of a ledger in the output folder of its run."""
SCHEMA_VERSION = 1

SUBMITTED = "submitted"
"""State of a call that was handed to the Batch API, beside those of ``facekit.endpoints.outcomes``."""
OUTDATED = "outdated"
"""State of a call that was asked with something else than it would be now, such as labels that have changed since."""
FINISHED = (ACCEPTED, REJECTED, FAILED, SUBMITTED)
"""States in which a run does not ask again."""

_AT_A_TIME = 500
"""Records in one query."""

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY,
    stage TEXT NOT NULL, record TEXT NOT NULL, aspect TEXT NOT NULL, version TEXT NOT NULL,
    state TEXT NOT NULL, cost REAL NOT NULL, attempts INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    time TEXT NOT NULL, model TEXT NOT NULL, reason TEXT, batch INTEGER, asked TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS calls_by_place ON calls (record, stage, aspect, version);
CREATE INDEX IF NOT EXISTS calls_by_state ON calls (stage, aspect, version, state, cost);
CREATE INDEX IF NOT EXISTS calls_by_batch ON calls (batch, state) WHERE batch IS NOT NULL;
CREATE TABLE IF NOT EXISTS answers (call INTEGER PRIMARY KEY, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS media (record TEXT PRIMARY KEY, names TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, name TEXT, state TEXT NOT NULL, time TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class Entry:
    """One row of the ledger.

    Args:
        stage: What kind of call it is, such as ``annotate`` or ``rate``.
        record: The record's id.
        aspect: What is asked, such as a recipe's aspect, or who is asked.
        version: The prompt version.
        state: One of those of ``facekit.endpoints.outcomes``, or ``SUBMITTED``.
        answer: The answer, also of a rejected one; empty where there is none.
        model: Who answered.
        time: When, in UTC, ISO 8601.
        prompt_tokens: Tokens read, over all attempts.
        completion_tokens: Tokens written, over all attempts.
        cost: Dollars, over all attempts.
        attempts: How often the endpoint was called.
        reason: Why there is no usable answer.
        batch: The batch that the call was handed to.
        asked: What it was asked with besides the prompt of its version; None where that is not known.
    """

    stage: str
    record: str
    aspect: str
    version: str
    state: str
    answer: str = ""
    model: str = ""
    time: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    attempts: int = 0
    reason: str | None = None
    batch: int | None = None
    asked: str | None = None


_COLUMNS = tuple(name for name in Entry.__dataclass_fields__ if name != "answer")
_PLACE = ("record", "stage", "aspect", "version")
_SELECT = f"SELECT {', '.join(_COLUMNS)}, coalesce(answer, '') FROM calls LEFT JOIN answers ON call = id"
_INSERT = (
    f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) "
    f"ON CONFLICT ({', '.join(_PLACE)}) DO UPDATE SET "
    + ", ".join(
        f"{name} = {name} + excluded.{name}" if name in ("cost", "attempts", "prompt_tokens", "completion_tokens")
        else f"{name} = excluded.{name}"
        for name in _COLUMNS if name not in _PLACE
    )
    + " RETURNING id"
)  # fmt: skip


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Ledger(Closing):
    """The ledger of an output folder; use it as a context manager.

    Args:
        folder: The output folder; made if it is not there.
        patience: Seconds to wait for another program that reads the file.

    Raises:
        ConfigurationError: If another process holds it, or it is not a ledger of this version.
        StorageError: If the disk is full or another program reads the file, also raised by every method.
    """

    def __init__(self, folder: str | Path, *, patience: float = 5.0) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LEDGER_NAME
        self._database = Database(self.path, _TABLES, patience)
        try:
            self._check_schema()
        except BaseException:
            self.close()
            raise

    def _check_schema(self) -> None:
        found = self.remember("schema", str(SCHEMA_VERSION))
        if found != str(SCHEMA_VERSION):
            raise ConfigurationError(
                f"{self.path} was written by another version of facekit (schema {found}, not {SCHEMA_VERSION}); "
                "use that version, or another folder"
            )
        if "asked" not in {row[1] for row in self._database.execute("PRAGMA table_info(calls)")}:
            self._database.execute("ALTER TABLE calls ADD COLUMN asked TEXT")

    def remember(self, name: str, value: str) -> str:
        """Set a fact about the whole ledger if it is not set yet, and return what it is."""
        self._database.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
        return str(self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()[0])

    def note(self, name: str, value: str) -> None:
        """Set a fact about the whole ledger, whatever it was before."""
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def recall(self, name: str) -> str | None:
        """A fact that was remembered, or None."""
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def store(self, *entries: Entry) -> None:
        """Write entries in one transaction; cost, tokens and attempts add up over tries of the same call."""
        with self._database.transaction():
            self._insert(entries)

    def _insert(self, entries: Iterable[Entry], batch: int | None = None) -> None:
        for entry in entries:
            row = entry.__dict__ if batch is None else {**entry.__dict__, "batch": batch}
            number = self._database.execute(_INSERT, row).fetchone()[0]
            if entry.answer:
                self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (number, entry.answer))
            else:
                self._database.execute("DELETE FROM answers WHERE call = ?", (number,))

    def finished(self, stage: str, versions: Mapping[str, str], records: Sequence[str]) -> set[tuple[str, str]]:
        """Which (record, aspect) of some records need no call.

        Args:
            stage: The stage.
            versions: Prompt version by aspect.
            records: Ids, a few hundred at a time.
        """
        marks = ", ".join("?" * len(records))
        rows = self._database.execute(
            f"SELECT record, aspect, version, state FROM calls WHERE record IN ({marks}) AND stage = ?",
            (*records, stage),
        )
        return {
            (record, aspect)
            for record, aspect, version, state in rows
            if state in FINISHED and versions.get(aspect) == version
        }

    def complete(self, stage: str, versions: Mapping[str, str], records: Sequence[str]) -> set[str]:
        """Which of some records, a few hundred at a time, need no call about any aspect."""
        among = [", ".join("?" * len(names)) for names in (records, versions, FINISHED)]
        rows = self._database.execute(
            f"SELECT record FROM calls WHERE record IN ({among[0]}) AND stage = ? AND version IN ({among[1]}) "
            f"AND state IN ({among[2]}) GROUP BY record HAVING COUNT(DISTINCT aspect) = ?",
            (*records, stage, *versions.values(), *FINISHED, len(versions)),
        )
        return {record for (record,) in rows}

    def entries(self, stage: str, versions: Mapping[str, str], records: Sequence[str]) -> list[Entry]:
        """The entries of some records."""
        found: list[Entry] = []
        for start in range(0, len(records), _AT_A_TIME):
            some = records[start : start + _AT_A_TIME]
            marks = ", ".join("?" * len(some))
            rows = self._database.execute(f"{_SELECT} WHERE record IN ({marks}) AND stage = ?", (*some, stage))
            found += (entry for entry in map(_entry, rows) if versions.get(entry.aspect) == entry.version)
        return found

    def stream(self, stage: str, aspect: str, version: str, state: str) -> Iterator[Entry]:
        """The entries of an aspect in a state, in the order in which they were stored first."""
        last = 0
        while True:
            rows = self._database.execute(
                f"{_SELECT.replace('SELECT', 'SELECT id,', 1)} WHERE stage = ? AND aspect = ? AND version = ? "
                "AND state = ? AND id > ? ORDER BY id LIMIT 500",
                (stage, aspect, version, state, last),
            ).fetchall()
            if not rows:
                return
            yield from (_entry(row[1:]) for row in rows)
            last = rows[-1][0]

    def counts(self, stage: str, versions: Mapping[str, str]) -> dict[tuple[str, str], int]:
        """Number of calls by aspect and state."""
        totals: dict[tuple[str, str], int] = {}
        for aspect, version in versions.items():
            rows = self._database.execute(
                "SELECT state, COUNT(*) FROM calls WHERE stage = ? AND aspect = ? AND version = ? GROUP BY state",
                (stage, aspect, version),
            )
            totals.update({(aspect, state): count for state, count in rows})
        return totals

    def count_answers_of(self, model: str) -> int:
        """Number of accepted answers of a model."""
        return int(
            self._database.execute(
                "SELECT COUNT(*) FROM calls WHERE model = ? AND state = ?", (model, ACCEPTED)
            ).fetchone()[0]
        )

    def spent(self) -> float:
        """Dollars of all calls of all runs."""
        return float(self._database.execute("SELECT TOTAL(cost) FROM calls INDEXED BY calls_by_state").fetchone()[0])

    def reopen(self, stage: str, versions: Mapping[str, str], states: Iterable[str], reason: str = "") -> int:
        """Let calls in some states be tried again, of these those whose reason has certain words; their cost stays.

        Returns how many there are.
        """
        states = list(states)
        count = 0
        for aspect, version in versions.items():
            count += self._database.execute(
                f"UPDATE calls SET state = '{GAVE_UP}' WHERE stage = ? AND aspect = ? AND version = ? "
                f"AND state IN ({', '.join('?' * len(states))}) AND instr(coalesce(reason, ''), ?) > 0",
                (stage, aspect, version, *states, reason),
            ).rowcount
        return count

    def outdate(
        self,
        stage: str,
        versions: Mapping[str, str],
        records: Sequence[str],
        asked: Callable[[str, str, str], str | None],
    ) -> int:
        """Find the calls that would be asked with something else now; they are to be made again.

        An answer that was found so before and would be asked with the same again is accepted again. A call of which it
        is not known what it was asked with counts as asked with what it would be now.

        Args:
            stage: The stage.
            versions: Prompt version by aspect.
            records: Ids, a few hundred at a time.
            asked: What a record and an aspect would be asked with of a model; None where that is not known.

        Returns:
            How many accepted answers these are.
        """
        marks = ", ".join("?" * len(records))
        rows = self._database.execute(
            "SELECT id, record, aspect, version, state, model, reason, asked FROM calls "
            f"WHERE record IN ({marks}) AND stage = ?",
            (*records, stage),
        ).fetchall()
        outdated = 0
        with self._database.transaction():
            for number, record, aspect, version, state, model, reason, before in rows:
                wanted = asked(record, aspect, model) if versions.get(aspect) == version else None
                if wanted is None:
                    continue
                is_other = before is not None and before != wanted
                if state == SUBMITTED:
                    change = (SUBMITTED, OUTDATED if is_other else None)
                elif is_other and state in FINISHED:
                    change = (OUTDATED, reason)
                elif state == OUTDATED and not is_other and reason is None:
                    change = (ACCEPTED, reason)
                else:
                    change = (state, reason)
                if change != (state, reason) or before is None:
                    self._database.execute(
                        "UPDATE calls SET state = ?, reason = ?, asked = coalesce(asked, ?) WHERE id = ?",
                        (*change, wanted, number),
                    )
                outdated += change == (OUTDATED, None)
        return outdated

    def note_media(self, media: Mapping[str, str]) -> list[str]:
        """Note which media records are about, as they were first seen.

        Args:
            media: What their names are, by record, a few hundred at a time.

        Returns:
            Records that calls were made about, and that now have other media.
        """
        marks = ", ".join("?" * len(media))
        rows = self._database.execute(f"SELECT record, names FROM media WHERE record IN ({marks})", tuple(media))
        before: dict[str, str] = dict(rows)
        with self._database.transaction():
            for record in media.keys() - before.keys():
                self._database.execute("INSERT INTO media VALUES (?, ?)", (record, media[record]))
        others = [record for record, names in media.items() if before.get(record, names) != names]
        marks = ", ".join("?" * len(others))
        asked = self._database.execute(f"SELECT DISTINCT record FROM calls WHERE record IN ({marks})", others)
        return [record for (record,) in asked]

    def begin_batch(self, token: str, entries: Sequence[Entry]) -> int:
        """Note that calls are about to be handed to the Batch API, before they are. Returns the batch's number."""
        with self._database.transaction():
            number = self._database.execute(
                "INSERT INTO batches (token, state, time) VALUES (?, 'intended', ?)", (token, now())
            ).lastrowid
            assert number is not None
            self._insert(entries, number)
        return number

    def name_batch(self, number: int, name: str) -> None:
        """Note the name that the endpoint gave to a batch."""
        self._database.execute("UPDATE batches SET name = ?, state = 'submitted' WHERE id = ?", (name, number))

    def open_batches(self) -> list[tuple[int, str, str | None]]:
        """Number, token and name of the batches that are not collected yet."""
        return self._database.execute("SELECT id, token, name FROM batches WHERE state != 'collected'").fetchall()

    def calls_in_batches(self) -> dict[str, int]:
        """Number of calls in every batch that is not collected yet, by its name or, without one, its token."""
        rows = self._database.execute(
            "SELECT coalesce(name, token), COUNT(*) FROM calls JOIN batches ON calls.batch = batches.id "
            f"WHERE calls.state = '{SUBMITTED}' AND batches.state != 'collected' GROUP BY batches.id"
        )
        return {str(name): int(count) for name, count in rows}

    def collect_batch(self, number: int, entries: Sequence[Entry]) -> None:
        """Store a batch's answers and close it; calls of it that have no entry are to be asked again."""
        with self._database.transaction():
            self._insert(entries)
            self._database.execute(
                f"UPDATE calls SET state = '{GAVE_UP}', reason = 'the batch ended without this answer' "
                "WHERE batch = ? AND state = ?",
                (number, SUBMITTED),
            )
            self._database.execute("UPDATE batches SET state = 'collected' WHERE id = ?", (number,))

    def batch_entries(self, number: int) -> list[Entry]:
        """The calls of a batch that are still open."""
        rows = self._database.execute(f"{_SELECT} WHERE batch = ? AND state = ?", (number, SUBMITTED))
        return [_entry(row) for row in rows]

    def close(self) -> None:
        """Close the file and let others have it."""
        self._database.close()


def _entry(row: Sequence[object]) -> Entry:
    return Entry(**dict(zip((*_COLUMNS, "answer"), row, strict=True)))  # type: ignore[arg-type]
