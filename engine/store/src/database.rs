//! The tables of `fuseline.db` and how they came to be what they are.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// One entry for each version; `user_version` says how many were applied. Never change one that was released.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE records (
        -- Keys are random: rows in the order they came, and a small index, so that a commit touches few pages.
        key BLOB NOT NULL UNIQUE,
        value BLOB NOT NULL,
        checksum BLOB NOT NULL
    );
    CREATE TABLE memos (
        key BLOB PRIMARY KEY,
        value BLOB NOT NULL,
        checksum BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE file_digests (
        path BLOB PRIMARY KEY,
        stamp BLOB NOT NULL,
        digest BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        pipeline TEXT NOT NULL,
        file TEXT,
        status TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        seconds REAL,
        command TEXT NOT NULL,
        git_revision TEXT,
        git_dirty INTEGER,
        invocation TEXT NOT NULL DEFAULT '{}',
        params TEXT NOT NULL,
        host TEXT NOT NULL,
        version TEXT NOT NULL,
        metrics TEXT NOT NULL DEFAULT '{}',
        summary TEXT NOT NULL DEFAULT 'null'
    ) WITHOUT ROWID;
    CREATE INDEX runs_by_time ON runs (started_ms);
    CREATE TABLE run_tasks (
        run TEXT NOT NULL,
        task TEXT NOT NULL,
        node TEXT NOT NULL,
        kind TEXT NOT NULL,
        status TEXT NOT NULL,
        key BLOB,
        seconds REAL NOT NULL,
        rows INTEGER,
        reason TEXT,
        error TEXT,
        PRIMARY KEY (run, task)
    ) WITHOUT ROWID;
    CREATE TABLE fingerprints (
        pipeline TEXT NOT NULL,
        task TEXT NOT NULL,
        key BLOB NOT NULL,
        parts TEXT,
        PRIMARY KEY (pipeline, task)
    ) WITHOUT ROWID;
    CREATE TABLE flushes (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        at_ms INTEGER NOT NULL
    );
"];

/// How many pages (of 4 KiB) the log may have before its content is moved into the database. SQLite's own 1000 would
/// have a run of ten thousand tasks move the same pages again and again.
const LOG_PAGES: i64 = 16 * 1024;

/// Another process may hold the write lock for a whole batch, or for a checkpoint on a slow disk.
const BUSY: Duration = Duration::from_secs(60);

/// A connection that may write; the tables are made or brought up to date.
pub(crate) fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(StoreError::database("open the file"))?;
    prepare(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(StoreError::database("switch to WAL"))?;
    for (pragma, value) in [("synchronous", "NORMAL".into()), ("wal_autocheckpoint", LOG_PAGES.to_string())] {
        connection.pragma_update(None, pragma, value).map_err(StoreError::database("set pragmas"))?;
    }
    migrate(&connection, path)?;
    Ok(connection)
}

/// A connection that only reads; nothing is made.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        // The first read is what fails where the -shm file cannot be made.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    });
    let connection = match opened {
        Ok(connection) => connection,
        // On a read-only disk SQLite cannot make the files that several readers and a writer share. If no log is
        // left to be read, the file alone is the whole database and nobody can be writing it.
        Err(error) => {
            let log = path.with_extension("db-wal");
            if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
                return Err(StoreError::database("open the file for reading")(error));
            }
            let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
                .map_err(StoreError::database("open the file for reading"))?
        }
    };
    prepare(&connection)?;
    check_version(&connection, path)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY).map_err(StoreError::database("set pragmas"))?;
    // In KiB if negative: SQLite's own 2 MiB are read again and again in a run of many tasks.
    connection.pragma_update(None, "cache_size", -16 * 1024).map_err(StoreError::database("set pragmas"))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn version(connection: &Connection) -> Result<usize, StoreError> {
    let version: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(StoreError::database("read the version"))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn check_version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let found = version(connection)?;
    if found > MIGRATIONS.len() {
        return Err(StoreError::NewerFormat {
            path: path.to_owned(),
            found: u32::try_from(found).unwrap_or(u32::MAX),
            known: u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX),
        });
    }
    Ok(found)
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    if check_version(connection, path)? == MIGRATIONS.len() {
        return Ok(());
    }
    // Two processes may open a new store at once: the lock first, then what is left to do.
    connection.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::database("lock the file"))?;
    let applied = check_version(connection, path).and_then(|done| {
        for migration in &MIGRATIONS[done..] {
            connection.execute_batch(migration).map_err(StoreError::database("bring the tables up to date"))?;
        }
        let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        connection.pragma_update(None, "user_version", version).map_err(StoreError::database("note the version"))
    });
    let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.execute_batch(end).map_err(StoreError::database("bring the tables up to date"));
    applied.and(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_later_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fuseline.db");
        let connection = open_for_writing(&path).unwrap();
        connection.pragma_update(None, "user_version", 1000).unwrap();
        drop(connection);
        assert!(matches!(open_for_writing(&path), Err(StoreError::NewerFormat { found: 1000, .. })));
        assert!(matches!(open_for_reading(&path), Err(StoreError::NewerFormat { found: 1000, .. })));
    }

    #[test]
    fn a_damaged_database_is_told_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fuseline.db");
        std::fs::write(&path, "no database at all, but long enough to have the head of one. ".repeat(100)).unwrap();
        for opened in [open_for_writing(&path), open_for_reading(&path)] {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains("`fuseline.db` is damaged: move the store's folder aside"), "{error}");
        }
    }

    #[test]
    fn opening_twice_migrates_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fuseline.db");
        let one = open_for_writing(&path).unwrap();
        one.execute("INSERT INTO flushes VALUES (1, 7)", []).unwrap();
        let two = open_for_writing(&path).unwrap();
        let at: i64 = two.query_row("SELECT at_ms FROM flushes", [], |row| row.get(0)).unwrap();
        assert_eq!(at, 7);
    }
}
