//! Starting and stopping the server.

use std::future::{Future, IntoFuture, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use engine_core::LogicalType;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::body::parse;
use crate::openapi::document;
use crate::predictor::Predictor;
use crate::routes::{App, router};
use crate::rows::{RequestColumns, predictions};
use crate::schema::Interface;
use crate::telemetry::Telemetry;
use crate::workers::{Answer, Work, Workers};

/// Threads that serve connections; they only pass bytes on.
const CONNECTION_THREADS: usize = 2;

/// Where and within which limits a deployment is served.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeOptions {
    /// The name the deployment is reported under.
    pub name: String,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Threads that predict.
    pub workers: usize,
    /// Requests that may wait for a worker; one more is told to come again.
    pub queue: usize,
    /// Bytes of a body.
    pub max_body_bytes: usize,
    /// Bytes of an image or sound.
    pub max_media_bytes: usize,
    /// Rows of a request.
    pub max_rows: usize,
    /// From a request's head to its answer.
    pub timeout: Duration,
    /// How long requests under way may take once the server is told to stop.
    pub drain: Duration,
}

impl ServeOptions {
    /// 16 MiB, 8 MiB for an image or sound, 10,000 rows, 30 s, 64 waiting, 10 s to drain, on `address` with `workers` threads.
    pub fn new(name: impl Into<String>, address: SocketAddr, workers: usize) -> ServeOptions {
        ServeOptions {
            name: name.into(),
            address,
            workers,
            queue: 64,
            max_body_bytes: 16 << 20,
            max_media_bytes: 8 << 20,
            max_rows: 10_000,
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// Why a deployment could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another server running there? `--port 0` takes a free port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The runtime or a thread could not be started.
    #[error("cannot start the server's threads: {0}")]
    Threads(std::io::Error),
    /// JSON does not carry a column of the request.
    #[error(
        "the request column `{column}` is a {logical}, which cannot be sent as JSON; \
         bundle with a `request:` further down, where it is a number or a text"
    )]
    Column {
        /// The column.
        column: String,
        /// Its type.
        logical: LogicalType,
    },
    /// Requests were still under way when the time to drain was over.
    #[error("requests were still under way {} s after the server was told to stop, and were given up", .drain.as_secs_f64())]
    Drain {
        /// How long they were given.
        drain: Duration,
    },
}

/// Serves `predictor` until `shutdown` completes, then finishes the requests under way.
///
/// Blocks the calling thread. `listening` is called once with the address in use.
///
/// # Errors
/// If it cannot start, or had to give requests up.
pub fn serve(
    predictor: Arc<dyn Predictor>,
    options: &ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let request = RequestColumns::new(predictor.request(), options.max_media_bytes)
        .map_err(|column| ServeError::Column { column: column.name, logical: column.logical })?;
    let interface = Interface {
        request: predictor.request(),
        response: predictor.response(),
        values: predictor.values(),
        max_rows: options.max_rows,
        max_media_bytes: options.max_media_bytes,
    };
    let (schemas, openapi) = (interface.schemas(), document(&options.name, &interface));
    let max_rows = options.max_rows;
    let work: Arc<Work> = Arc::new(move |body| {
        let rows = request.frame(parse(body, max_rows)?, &|bytes| predictor.lend(bytes))?;
        let predicted = predictor.predict(&rows.frame)?;
        drop(rows.media);
        assert_eq!(predicted.height(), rows.frame.height(), "a prediction for each row");
        let body = predictions(&predicted).expect("JSON values can be written");
        Ok(Answer { body, rows: rows.frame.height() })
    });
    let app = Arc::new(App {
        name: options.name.clone(),
        workers: Workers::start(options.workers, options.queue, work).map_err(ServeError::Threads)?,
        telemetry: Telemetry::new(),
        schemas,
        openapi,
        max_body_bytes: options.max_body_bytes,
        timeout: options.timeout,
        stopping: AtomicBool::new(false),
    });
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONNECTION_THREADS)
        .thread_name("fuseline-http")
        .enable_io()
        .enable_time()
        .build()
        .map_err(ServeError::Threads)?;
    let drained = runtime.block_on(connections(app.clone(), options, shutdown, listening));
    let left = match &drained {
        Ok(Some(since)) => options.drain.saturating_sub(since.elapsed()),
        _ => Duration::ZERO,
    };
    let ended = app.workers.stop(left);
    runtime.shutdown_background();
    match drained? {
        Some(_) if ended => Ok(()),
        _ => Err(ServeError::Drain { drain: options.drain }),
    }
}

/// Serves connections; when the server was told to stop, or `None` if connections had to be given up.
async fn connections(
    app: Arc<App>,
    options: &ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
    listening: impl FnOnce(SocketAddr),
) -> Result<Option<Instant>, ServeError> {
    let failed = |source| ServeError::Listen { address: options.address, source };
    let listener = TcpListener::bind(options.address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, deployment = app.name, "listening");
    listening(address);
    let (told, mut is_told) = watch::channel(None);
    let stopping = app.clone();
    let signal = async move {
        shutdown.await;
        stopping.stopping.store(true, Ordering::Release);
        tracing::info!("told to stop");
        // The receiver lives as long as `connections`.
        let _ = told.send(Some(Instant::now()));
    };
    let server = tokio::spawn(axum::serve(listener, router(app)).with_graceful_shutdown(signal).into_future());
    let since = match is_told.wait_for(Option::is_some).await {
        Ok(since) => *since,
        Err(_) => None,
    };
    let finished = tokio::time::timeout(options.drain, server).await;
    Ok(if finished.is_ok() { since } else { None })
}

/// Completes at SIGTERM or Ctrl-C. Must be awaited inside [`serve`], to which it is given.
pub async fn stop_signal() {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    poll_fn(|context| {
        #[cfg(unix)]
        if let Some(terminate) = &mut terminate
            && terminate.poll_recv(context).is_ready()
        {
            return Poll::Ready(());
        }
        interrupt.as_mut().poll(context).map(|_| ())
    })
    .await;
}
