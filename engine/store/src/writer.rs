//! The one thread of a process that writes the database: many writes, few transactions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::StoreError;
use crate::store::{lock, now_ms};

/// How many writes go into one transaction at most.
const BATCH: usize = 1000;

type Statement = Box<dyn FnOnce(&Connection) -> rusqlite::Result<()> + Send>;

/// Told whether the transaction was committed.
type Answer = Box<dyn FnOnce(Result<(), String>) + Send>;

enum Write {
    /// A statement, and whom to tell once its transaction is committed.
    Run { statement: Statement, answer: Option<Answer> },
    /// Told when everything sent before is committed; durably if asked.
    Barrier { durable: bool, answer: SyncSender<Result<(), String>> },
}

/// Sends writes to the writer thread. On drop everything sent is committed and the thread ends.
pub(crate) struct Writer {
    writes: Option<Sender<Write>>,
    thread: Option<JoinHandle<()>>,
    transactions: Arc<AtomicU64>,
    // The error of a write nobody waited for; told at the next barrier.
    unheard: Arc<Mutex<Option<String>>>,
}

impl Writer {
    pub(crate) fn start(connection: Connection) -> Result<Writer, StoreError> {
        let (writes, received) = channel();
        let transactions = Arc::new(AtomicU64::new(0));
        let unheard = Arc::new(Mutex::new(None));
        let state = WriterThread { connection, transactions: transactions.clone(), unheard: unheard.clone() };
        let thread = std::thread::Builder::new()
            .name("fuseline-store".to_owned())
            .spawn(move || state.serve(&received))
            .map_err(|error| StoreError::Writer { reason: error.to_string() })?;
        Ok(Writer { writes: Some(writes), thread: Some(thread), transactions, unheard })
    }

    /// How many transactions were committed so far.
    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Acquire)
    }

    /// Sends a write and waits for nothing; if it fails, the next barrier says so.
    pub(crate) fn send(&self, statement: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static) {
        let write = Write::Run { statement: Box::new(statement), answer: None };
        if self.sender().send(write).is_err() {
            lock(&self.unheard).get_or_insert_with(|| "its thread has ended".to_owned());
        }
    }

    /// Sends a write; `answer` is called on the writer thread once its transaction is committed, or has failed.
    pub(crate) fn send_and(
        &self,
        statement: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
        answer: impl FnOnce(Result<(), String>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let write = Write::Run { statement: Box::new(statement), answer: Some(Box::new(answer)) };
        self.sender().send(write).map_err(|_| ended())
    }

    /// Waits until everything sent before is committed; if `durable`, until it would outlive a loss of power.
    pub(crate) fn barrier(&self, durable: bool) -> Result<(), StoreError> {
        let (answer, answered) = sync_channel(1);
        self.sender().send(Write::Barrier { durable, answer }).map_err(|_| ended())?;
        let result = answered.recv().map_err(|_| ended())?;
        result.map_err(|reason| StoreError::Writer { reason })
    }

    fn sender(&self) -> &Sender<Write> {
        self.writes.as_ref().expect("the channel is open until the writer is dropped")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

fn ended() -> StoreError {
    StoreError::Writer { reason: "its thread has ended".to_owned() }
}

struct WriterThread {
    connection: Connection,
    transactions: Arc<AtomicU64>,
    unheard: Arc<Mutex<Option<String>>>,
}

impl WriterThread {
    fn serve(&self, received: &Receiver<Write>) {
        while let Ok(first) = received.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = received.try_recv()
            {
                batch.push(next);
            }
            self.serve_batch(batch);
        }
    }

    fn serve_batch(&self, batch: Vec<Write>) {
        let mut statements: Vec<(Statement, Option<Answer>)> = Vec::new();
        for write in batch {
            match write {
                Write::Run { statement, answer } => statements.push((statement, answer)),
                Write::Barrier { durable, answer } => {
                    self.commit(std::mem::take(&mut statements));
                    let mut result = match lock(&self.unheard).take() {
                        Some(reason) => Err(reason),
                        None => Ok(()),
                    };
                    if durable {
                        result = result.and(self.make_durable());
                    }
                    // Whoever asked may have gone; nothing is lost by that.
                    let _ = answer.send(result);
                }
            }
        }
        self.commit(statements);
    }

    /// Runs the statements in one transaction, then tells whoever waits.
    fn commit(&self, statements: Vec<(Statement, Option<Answer>)>) {
        if statements.is_empty() {
            return;
        }
        let (statements, answers): (Vec<Statement>, Vec<Option<Answer>>) = statements.into_iter().unzip();
        let result =
            self.transaction(|connection| statements.into_iter().try_for_each(|statement| statement(connection)));
        for answer in answers {
            match (answer, &result) {
                (Some(answer), result) => answer(result.clone()),
                (None, Err(reason)) => {
                    lock(&self.unheard).get_or_insert_with(|| reason.clone());
                }
                (None, Ok(())) => {}
            }
        }
    }

    fn transaction(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), String> {
        let result = self
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| work(&self.connection))
            .and_then(|()| self.connection.execute_batch("COMMIT"));
        match result {
            Ok(()) => {
                self.transactions.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }
            Err(error) => {
                // After some errors (a full disk) SQLite has rolled back by itself.
                if !self.connection.is_autocommit()
                    && let Err(error) = self.connection.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "cannot roll back");
                }
                tracing::error!(%error, "a transaction failed");
                Err(error.to_string())
            }
        }
    }

    /// In WAL mode a commit with `synchronous=FULL` syncs the log, and with it every commit before.
    fn make_durable(&self) -> Result<(), String> {
        let set =
            |level: &str| self.connection.pragma_update(None, "synchronous", level).map_err(|error| error.to_string());
        set("FULL")?;
        let at_ms = i64::try_from(now_ms()).unwrap_or(i64::MAX);
        let committed = self.transaction(|connection| {
            connection.execute("INSERT OR REPLACE INTO flushes (id, at_ms) VALUES (1, ?1)", [at_ms])?;
            Ok(())
        });
        committed.and(set("NORMAL"))
    }
}
