"""The SQLite file of a ledger, held by one process, whose errors are one sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from facekit.data.locking import hold_file
from facekit.errors import ConfigurationError, StorageError

_SETTINGS = (
    "locking_mode=EXCLUSIVE",  # one process only, and no lock per transaction
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "cache_size=-65536",
    "wal_autocheckpoint=4000",
)
_FULL, _HELD = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR), (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_FOREIGN = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CANTOPEN)
_PRIMARY_CODE = 0xFF


class Database:
    """A SQLite file in write-ahead mode, locked against other processes.

    Args:
        path: The file; its folder must be there.
        tables: Statements that make the tables where they are not there.
        patience: Seconds to wait for a program that reads the file.

    Raises:
        ConfigurationError: If another process works on it, or it is no such file.
        StorageError: If another program reads it, or the disk is full.
    """

    def __init__(self, path: Path, tables: str, patience: float = 5.0) -> None:
        self.path = path
        with ExitStack() as opened:
            self._lock = opened.enter_context(path.with_name(f"{path.name}.lock").open("w"))
            hold_file(self._lock, path.parent)
            with self._sentences():
                path.touch()  # with the mode that the umask says; SQLite's own files are for nobody else to write
                self._connection = sqlite3.connect(
                    path, isolation_level=None, check_same_thread=False, timeout=patience
                )
                opened.callback(self._connection.close)
                for setting in _SETTINGS:
                    self._connection.execute(f"PRAGMA {setting}")
                self._connection.executescript(tables)
            opened.pop_all()

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        """Carry out a statement; raises ``StorageError``."""
        with self._sentences():
            return self._connection.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Statements that are stored together or not at all."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file and let others have it."""
        try:
            with self._sentences():
                self._connection.close()
        finally:
            self._lock.close()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
            if code in _FULL:
                raise StorageError(
                    f"{self.path} cannot be written, the disk is full ({error}); what was answered before is kept: "
                    "make room and run the same command again"
                ) from error
            if code in _HELD:
                raise StorageError(
                    f"another program is reading {self.path} ({error}); close it and run the same command again"
                ) from error
            if code == sqlite3.SQLITE_READONLY:
                raise StorageError(f"{self.path} may not be written ({error}); check its permissions") from error
            if code in _FOREIGN:
                raise ConfigurationError(f"{self.path} is not a ledger ({error}); choose another folder") from error
            raise
