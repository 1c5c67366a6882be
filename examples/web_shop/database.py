"""The shop's own database: what is in stock, what was paid, what was sent. It knows nothing of sagas.

Whatever is done here is done under a key, in the transaction that keeps the key: done again under the same key, it
changes nothing. What is undone is undone by that key, and whoever comes late with it finds that it is over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

FILE = "shop.db"

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, count INTEGER NOT NULL CHECK (count >= 0));
CREATE TABLE IF NOT EXISTS reservations (
    key TEXT PRIMARY KEY, order_id TEXT NOT NULL, item TEXT NOT NULL, count INTEGER NOT NULL, undone INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS payments (
    key TEXT PRIMARY KEY, order_id TEXT NOT NULL, amount INTEGER NOT NULL, undone INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS parcels (key TEXT PRIMARY KEY, order_id TEXT NOT NULL);
"""


class OutOfStockError(Exception):
    """There are not so many left."""


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """All of it is committed, or nothing."""
    database = sqlite3.connect(FILE, timeout=20.0, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        with database:
            yield database
    finally:
        database.close()


def open_shop(item: str, count: int) -> None:
    """Make the database, with so many of one item in stock; one that is there is left as it is."""
    database = sqlite3.connect(FILE, timeout=20.0)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(SCHEMA)
    database.close()
    with transaction() as database:
        database.execute("INSERT OR IGNORE INTO stock VALUES (?, ?)", (item, count))


def reserve(key: str, order_id: str, item: str, count: int) -> None:
    """Take so many out of stock; OutOfStockError if there are fewer."""
    with transaction() as database:
        row = (key, order_id, item, count)
        if database.execute("INSERT OR IGNORE INTO reservations VALUES (?, ?, ?, ?, FALSE)", row).rowcount:
            taken = "UPDATE stock SET count = count - ? WHERE item = ? AND count >= ?"
            if not database.execute(taken, (count, item, count)).rowcount:
                raise OutOfStockError(f"there are not {count} of {item!r} left")


def release(key: str) -> None:
    """Put back what was reserved under this key, if anything was, and let nothing be reserved under it again."""
    with transaction() as database:
        database.execute("INSERT OR IGNORE INTO reservations VALUES (?, '', '', 0, FALSE)", (key,))
        done = "UPDATE reservations SET undone = TRUE WHERE key = ? AND NOT undone RETURNING item, count"
        for item, count in database.execute(done, (key,)).fetchall():
            database.execute("UPDATE stock SET count = count + ? WHERE item = ?", (count, item))


def pay(key: str, order_id: str, amount: int) -> None:
    """Take the money."""
    with transaction() as database:
        database.execute("INSERT OR IGNORE INTO payments VALUES (?, ?, ?, FALSE)", (key, order_id, amount))


def pay_back(key: str) -> None:
    """Give back what was paid under this key, if anything was, and let nothing be paid under it again."""
    with transaction() as database:
        database.execute("INSERT OR IGNORE INTO payments VALUES (?, '', 0, FALSE)", (key,))
        database.execute("UPDATE payments SET undone = TRUE WHERE key = ?", (key,))


def send(key: str, order_id: str) -> None:
    """Hand it to the carrier."""
    with transaction() as database:
        database.execute("INSERT OR IGNORE INTO parcels VALUES (?, ?)", (key, order_id))


def books() -> dict[str, int]:
    """What there is of everything, in one transaction."""
    with transaction() as database:

        def total(query: str) -> int:
            (number,) = database.execute(query).fetchone()
            return int(number)

        return {
            "in_stock": total("SELECT coalesce(sum(count), 0) FROM stock"),
            "reserved": total("SELECT coalesce(sum(count), 0) FROM reservations WHERE NOT undone"),
            "paid": total("SELECT coalesce(sum(amount), 0) FROM payments WHERE NOT undone"),
            "parcels": total("SELECT count(*) FROM parcels"),
        }
