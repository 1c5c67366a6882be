"""Where a journal may lie: its URL, its file, and what is refused untouched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from journal_cases import PLAN, ended, filled, tamper

from saga_actors.errors import JournalError, JournalUrlError, SchemaError
from saga_actors.journal import JournalUrl, MemoryJournal, SqliteJournal, SqliteReader, open_journal, open_reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.db"


class TestFiles:
    @pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
    def test_files_are_private_whatever_the_umask(self, path: Path, umask: int) -> None:
        """The journal, its log and its index have mode 0600."""
        before = os.umask(umask)
        try:
            writer = SqliteJournal(path)
            filled(writer, "a")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
            writer.close()
        finally:
            os.umask(before)
        assert modes == {"sagas.db": 0o600, "sagas.db-wal": 0o600, "sagas.db-shm": 0o600}

    @pytest.mark.parametrize(
        "foreign",
        [
            ("CREATE TABLE t (x)",),
            ("PRAGMA application_id = 7", "CREATE TABLE t (x)"),
            ("PRAGMA application_id = 0x53414741", "PRAGMA user_version = 1"),
            ("PRAGMA application_id = 0x53414741", "PRAGMA user_version = 4"),
        ],
    )
    def test_a_database_of_something_else_is_refused_untouched(self, path: Path, foreign: tuple[str, ...]) -> None:
        """Neither another application's file is written to, nor that of a version that is newer, or too old."""
        tamper(path, *foreign)
        before = path.read_bytes()
        for opened in (SqliteJournal, SqliteReader):
            with pytest.raises(SchemaError, match=r"expected 2 to 3\b|expected 1396787009"):
                opened(path)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == ["sagas.db"]

    def test_a_file_that_is_no_database_is_refused_untouched(self, path: Path) -> None:
        """Somebody's notes stay what they are."""
        path.write_text("my notes\n" * 200)
        for opened in (SqliteJournal, SqliteReader):
            with pytest.raises(SchemaError, match="no SQLite file"):
                opened(path)
        assert path.read_text() == "my notes\n" * 200

    def test_an_empty_file_becomes_a_journal_only_for_the_writer(self, path: Path) -> None:
        """A reader says that nothing is there yet; the writer makes it."""
        path.touch()
        with pytest.raises(JournalError, match="yet"):
            SqliteReader(path)
        writer = SqliteJournal(path)
        assert filled(writer, "a") == 1
        writer.close()

    def test_a_reader_does_not_make_a_journal(self, path: Path) -> None:
        """A missing file stays missing."""
        with pytest.raises(JournalError, match="no journal at"):
            SqliteReader(path)
        assert not path.exists()

    @pytest.mark.parametrize("name", ["missing/sagas.db", "file/sagas.db", "pipe"])
    def test_a_path_that_cannot_be_is_refused(self, tmp_path: Path, name: str) -> None:
        """No folder, a file where a folder should be, and what is no regular file, are told apart from a journal."""
        (tmp_path / "file").touch()
        os.mkfifo(tmp_path / "pipe")
        for opened in (SqliteJournal, SqliteReader):
            with pytest.raises(JournalError, match=str(tmp_path)):
                opened(tmp_path / name)
        assert not (tmp_path / "missing").exists()

    def test_a_journal_made_by_halves_is_finished(self, path: Path) -> None:
        """A crash before the schema was there leaves an empty database, which the next writer takes."""
        tamper(path, "PRAGMA journal_mode = wal")
        writer = SqliteJournal(path)
        filled(writer, "a")
        writer.close()

    def test_a_closed_journal_opens_again_with_everything(self, path: Path) -> None:
        """Sagas, plans, epoch and positions go on where they were."""
        writer = SqliteJournal(path)
        epoch = filled(writer, "a")
        writer.append(epoch, [ended("a", 4)])
        writer.close()
        again = SqliteJournal(path)
        assert filled(again, "b") == epoch + 1
        assert [stored.position for stored in again.load("a") + again.load("b")] == [1, 2, 3, 4, 5, 6, 7]
        assert again.plan(PLAN.plan_id) == PLAN
        again.close()


class TestUrls:
    def test_a_relative_path_has_three_slashes_and_an_absolute_one_four(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both end as absolute paths, with the node's folder beside the file."""
        monkeypatch.chdir(tmp_path)
        for url in ("sqlite:///a b.db", "sqlite:///a%20b.db", f"sqlite:///{tmp_path}/a b.db", "SQLite:///./a b.db"):
            parsed = JournalUrl.parse(url)
            assert parsed.path == tmp_path / "a b.db"
            assert parsed.node_folder == tmp_path / "a b.db.node"
            assert JournalUrl.parse(str(parsed)) == parsed

    def test_a_tilde_and_a_question_mark_are_plain_characters(self, tmp_path: Path) -> None:
        """Nothing is expanded; what has a meaning in URLs is written in percent escapes."""
        assert JournalUrl.parse(f"sqlite:///{tmp_path}/~/%3F%25.db").path == tmp_path / "~" / "?%.db"

    def test_two_names_of_one_file_are_one_journal(self, tmp_path: Path) -> None:
        """Symbolic links are resolved, so that there is one node for it."""
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        one, other = (JournalUrl.parse(f"sqlite:///{tmp_path}/{name}/a.db") for name in ("real", "link"))
        assert one == other

    @pytest.mark.parametrize(
        "url",
        [
            "sagas.db",
            "",
            "postgres://host/db",
            "sqlite://",
            "sqlite:///",
            "sqlite:////",
            "sqlite://sagas.db",
            "sqlite:///:memory:",
            "sqlite://:memory:",
            "sqlite:///sagas.db?mode=ro",
            "sqlite:///sagas.db#1",
            "sqlite:///sagas%00.db",
            "sqlite:///sagas\n.db",
            "sqlite:///sagas%ff.db",
            "sqlite:///100%.db",
            "sqlite:////tmp",
            "sqlite:///folder/",
            "memory://here",
            Path("sagas.db"),
            None,
        ],
    )
    def test_a_url_that_means_nothing_is_refused_with_what_was_given_and_expected(self, url: object) -> None:
        """The message has the URL and says what to write instead."""
        with pytest.raises(JournalUrlError) as refused:
            open_journal(url)  # type: ignore[arg-type]
        assert repr(url) in str(refused.value)

    def test_a_url_opens_its_adapter(self, path: Path) -> None:
        """Files for every process, memory for one."""
        assert isinstance(open_journal("memory://"), MemoryJournal)
        with pytest.raises(JournalUrlError, match="has no file"):
            open_reader("memory://")
        writer = open_journal(f"sqlite:///{path}")
        reader = open_reader(f"sqlite:///{path}")
        assert filled(writer, "a") == reader.epoch() == 1
        reader.close()
        writer.close()
