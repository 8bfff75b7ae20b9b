//! What a running task may ask of the engine: its seed, its share of threads, whether to stop, where to report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine_core::{Progress, Seed};

use crate::{Blobs, NoBlobs, NodeError, ServingSlice};

/// A token that says when to stop; checked per chunk, batch and epoch.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    // A timeout stops one task, Ctrl-C all: a token is also cancelled when its parent is.
    flags: Vec<Arc<AtomicBool>>,
}

impl Cancel {
    /// A token nobody has cancelled.
    pub fn new() -> Cancel {
        Cancel { flags: vec![Arc::default()] }
    }

    /// A token that is cancelled with this one, or on its own.
    pub fn child(&self) -> Cancel {
        let mut flags = self.flags.clone();
        flags.push(Arc::default());
        Cancel { flags }
    }

    /// Cancels this token and its children.
    pub fn cancel(&self) {
        if let Some(own) = self.flags.last() {
            own.store(true, Ordering::Release);
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.flags.iter().any(|flag| flag.load(Ordering::Acquire))
    }

    /// An error if it was cancelled.
    ///
    /// # Errors
    /// [`NodeError::Cancelled`].
    pub fn check(&self) -> Result<(), NodeError> {
        if self.is_cancelled() { Err(NodeError::Cancelled) } else { Ok(()) }
    }
}

/// Where a task reports how far it is.
pub trait ProgressSink: Send + Sync {
    /// How far it is now; the engine may drop reports that come too fast.
    fn progress(&self, progress: Progress);
    /// Something a person should read.
    fn warning(&self, message: &str);
}

/// Reports to nobody.
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn progress(&self, _: Progress) {}
    fn warning(&self, _: &str) {}
}

/// What the engine gives a running task.
#[derive(Clone)]
pub struct Context {
    /// The pipeline's seed: for choices that must not move when rows change, such as a split.
    pub pipeline_seed: Seed,
    /// The task's seed, from the pipeline's seed and the task's fingerprint.
    pub seed: Seed,
    /// Threads the task may use.
    pub threads: usize,
    /// When to stop.
    pub cancel: Cancel,
    /// Where to report.
    pub progress: Arc<dyn ProgressSink>,
    /// Values of declared environment names that are secret; opened by [`Context::secret`] only.
    pub secrets: Arc<BTreeMap<String, String>>,
    /// Where images and sound are kept.
    pub blobs: Arc<dyn Blobs>,
    /// For a sink that asked for it: what a deployment needs.
    pub serving: Option<Arc<ServingSlice>>,
}

impl Context {
    /// A context for tests and for serving: seed 0, one thread, nobody listening.
    pub fn quiet() -> Context {
        Context {
            pipeline_seed: Seed::new(0),
            seed: Seed::new(0),
            threads: 1,
            cancel: Cancel::new(),
            progress: Arc::new(NoProgress),
            secrets: Arc::default(),
            blobs: Arc::new(NoBlobs),
            serving: None,
        }
    }

    /// The value behind a secret option, which reads `${env.NAME}`; other text is its own value.
    ///
    /// # Errors
    /// If the environment does not have the name.
    pub fn secret<'a>(&'a self, option: &'a str) -> Result<&'a str, NodeError> {
        match option.strip_prefix("${env.").and_then(|rest| rest.strip_suffix('}')) {
            None => Ok(option),
            Some(name) => self.secrets.get(name).map(String::as_str).ok_or_else(|| {
                NodeError::Failed(format!(
                    "the environment has no `{name}`; set it before the run: {name}=... fuseline run ..."
                ))
            }),
        }
    }
}
