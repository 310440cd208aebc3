//! Progress on standard error: a spinner on a terminal, plain lines elsewhere, nothing for what is over within a second.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

const QUICK: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(120);

/// Something that is going on; ends when dropped.
#[must_use]
pub struct Progress {
    bar: ProgressBar,
    /// Whether the first plain line was written, so that further ones follow at once.
    plain: Arc<AtomicBool>,
    announcer: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins; shows itself after a second. Must be called within the async runtime.
    pub fn start(what: String, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let plain = Arc::new(AtomicBool::new(false));
        if quiet {
            return Self { bar, plain, announcer: None };
        }
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(what);
        let (shown, lines) = (bar.clone(), plain.clone());
        let announcer = tokio::spawn(async move {
            let began = Instant::now();
            tokio::time::sleep(QUICK).await;
            if std::io::stderr().is_terminal() {
                shown.set_elapsed(began.elapsed());
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(TICK);
            } else {
                eprintln!("{} …", shown.message());
                lines.store(true, Ordering::Relaxed);
            }
        });
        Self { bar, plain, announcer: Some(announcer) }
    }

    /// Something to call with what is going on now, from any thread.
    pub fn teller(&self) -> impl Fn(&str) + Send + 'static {
        let (bar, plain) = (self.bar.clone(), self.plain.clone());
        move |what| {
            bar.set_message(what.to_owned());
            if plain.load(Ordering::Relaxed) {
                eprintln!("{what} …");
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(announcer) = &self.announcer {
            announcer.abort();
        }
        self.bar.finish_and_clear();
    }
}
