//! Connections that read, lent to threads.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::Connection;

use crate::StoreError;
use crate::database::open_for_reading;
use crate::store::lock;

/// A pool of reading connections: as many as threads ever read at once.
pub(crate) struct Connections {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Connections {
    pub(crate) fn new(path: PathBuf) -> Connections {
        Connections { path, idle: Mutex::default() }
    }

    /// Reads with a connection of the pool. Every query sees what was committed before it.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = lock(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_for_reading(&self.path)?,
        };
        let answer = query(&connection).map_err(StoreError::database(action));
        lock(&self.idle).push(connection);
        answer
    }
}
