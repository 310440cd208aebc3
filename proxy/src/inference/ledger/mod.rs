//! What a sandbox has spent on inference, against its budgets: set aside before a request, settled after it, and written down
//! both times, so that a supervisor that is killed forgets nothing.

mod journal;
mod shares;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use openshell_api::decision::Charge;
use openshell_api::inference::{Backend, Budget, Period, Sensitivity, Spent};
use openshell_api::share::{Share, Want};
use openshell_inference_format::price::{self, Prices, Tokens};
use openshell_inference_format::usage::Usage;

pub use journal::Lost;
use journal::{Journal, Line};
use shares::Shares;

/// Bytes of an answer that hold at least one token, whatever surrounds them; for answers that say nothing of tokens.
const BYTES_PER_TOKEN: u64 = 4;

/// Every window of a sandbox: of each backend and of all together (no name), by period.
#[derive(Debug, Default)]
pub struct Ledger(Arc<Books>);

#[derive(Debug, Default)]
struct Books {
    windows: Mutex<BTreeMap<Key, Window>>,
    /// Locked after the windows.
    shares: Mutex<Shares>,
    /// Locked after the windows. `None`: nothing is written down.
    journal: Option<Mutex<Journal>>,
}

/// The limits that hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits<'a> {
    /// The sandbox's own budgets.
    pub own: &'a [Budget],
    /// Those that it shares.
    pub shared: &'a [Budget],
}

/// What room is set aside for.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Names the request, and which attempt it is; no two are alike.
    pub id: &'a str,
    /// Model that will be asked.
    pub model: &'a str,
    /// What the request counts as.
    pub sensitivity: Sensitivity,
    /// Tokens that it may use, input and output.
    pub tokens: (u64, u64),
}

type Key = (Option<String>, Period);

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    /// See [`Period::window`].
    number: i64,
    cost: u128,
    tokens: u64,
    reserved_cost: u128,
    reserved_tokens: u64,
}

/// Why no room was set aside for a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// A budget has none.
    #[error("the budget of {whose} for {period} is used up: {spent}")]
    Budget {
        /// Whose budget it is.
        whose: String,
        /// Over which time.
        period: &'static str,
        /// What is spent and what the limit is.
        spent: String,
    },
    /// A budget that its user's sandboxes share has room for it, and this sandbox's share has not.
    #[error("the sandbox's share of its user's budget is used up")]
    Share(Want),
    /// There is no more of such a budget to be had.
    #[error("{0}")]
    Shared(String),
    /// There are budgets, and what is set aside can't be written down: nobody would know of it after a crash.
    #[error("what is set aside for the request can't be written down: {0}")]
    Unwritten(String),
}

/// How an answer ended, as far as it matters for what it cost.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// Tokens as reported.
    pub usage: Usage,
    /// The answer's own id, where it came with the figures.
    pub id: Option<String>,
    /// Bytes of the answer that passed.
    pub bytes: u64,
    /// Events that passed, if it was a stream.
    pub events: Option<u64>,
    /// It ended by itself, and well.
    pub complete: bool,
}

/// Room that was set aside for one request. Dropped unsettled it counts as spent: a backend may charge for what nobody heard.
#[derive(Debug)]
pub struct Reservation {
    books: Arc<Books>,
    id: String,
    keys: Vec<(Key, i64)>,
    cost: u128,
    tokens: (u64, u64),
    prices: Prices,
    open: bool,
}

impl Ledger {
    /// A ledger that is written down in a file, and what was under way when it was written last: that counts as spent, and is to
    /// be told to the gateway.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Lost>)> {
        let (journal, rows, lost) = Journal::open(path)?;
        let mut windows = BTreeMap::new();
        for row in rows {
            windows.insert(
                (row.backend, row.period),
                Window { number: row.window, cost: row.cost, tokens: row.tokens, ..Window::default() },
            );
        }
        let books =
            Books { windows: Mutex::new(windows), shares: Mutex::default(), journal: Some(Mutex::new(journal)) };
        // What is told to the gateway must not be told again.
        books.compact(&lock(&books.windows));
        Ok((Self(Arc::new(books)), lost))
    }

    /// Sets aside what a request may cost on `backend`, in every window at once. Refuses when a budget has no room for all of
    /// it: requests that run side by side never spend more than is left.
    pub fn reserve(
        &self,
        limits: Limits<'_>,
        backend: &Backend,
        claim: Claim<'_>,
        now: Timestamp,
    ) -> Result<Reservation, Exhausted> {
        let prices = Prices::of(backend);
        let tokens = claim.tokens;
        let cost = prices.most(tokens.0, tokens.1);
        let total = tokens.0.saturating_add(tokens.1);
        let mut windows = lock(&self.0.windows);
        let mut limited = !limits.shared.is_empty();
        for budget in limits.own.iter().filter(|b| b.backend.as_ref().is_none_or(|name| *name == backend.name)) {
            limited = true;
            let key = (budget.backend.as_ref().map(ToString::to_string), budget.period);
            let window = current(&mut windows, &key, now);
            let cost_after = window.cost + window.reserved_cost + cost;
            let tokens_after = window.tokens.saturating_add(window.reserved_tokens).saturating_add(total);
            // A request that costs nothing is not held up by a limit in dollars that was passed.
            let over_cost = budget.fine_cost().filter(|limit| cost > 0 && cost_after > *limit);
            let over_tokens = budget.tokens.filter(|limit| tokens_after > *limit);
            if over_cost.is_some() || over_tokens.is_some() {
                return Err(exhausted(budget, window, over_cost, over_tokens, (cost, total)));
            }
        }
        let fits = lock(&self.0.shares).fits(limits.shared, &mut windows, backend.name.as_str(), (cost, total), now);
        fits.map_err(Exhausted::Share)?;
        let line = Lost {
            id: claim.id.to_owned(),
            at: now,
            backend: backend.name.to_string(),
            model: claim.model.to_owned(),
            sensitivity: claim.sensitivity,
            cost,
            tokens,
        };
        if let Err(error) = self.0.write(Line::Open(line)) {
            tracing::error!(%error, "what is set aside for inference can't be written down");
            if limited {
                return Err(Exhausted::Unwritten(error.to_string()));
            }
        }
        let mut keys = Vec::with_capacity(6);
        for (key, number) in keys_at(backend.name.as_str(), now) {
            let window = current(&mut windows, &key, now);
            debug_assert!(window.number >= number);
            window.reserved_cost += cost;
            window.reserved_tokens = window.reserved_tokens.saturating_add(total);
            keys.push((key, window.number));
        }
        Ok(Reservation { books: Arc::clone(&self.0), id: claim.id.to_owned(), keys, cost, tokens, prices, open: true })
    }

    /// Takes over a share of a budget that its user's sandboxes share.
    pub fn dealt(&self, share: Share) {
        lock(&self.0.shares).dealt(share);
    }

    /// Keeps of each of these shares what is spent and set aside; answers what that is.
    pub fn give_back(&self, counted: Vec<Share>, now: Timestamp) -> Vec<Share> {
        let mut windows = lock(&self.0.windows);
        lock(&self.0.shares).give_back(counted, &mut windows, now)
    }

    /// Takes over what the gateway remembers of the windows of now, where that is more.
    pub fn merge(&self, remembered: &[Spent], now: Timestamp) {
        let mut windows = lock(&self.0.windows);
        for spent in remembered.iter().filter(|spent| spent.window == spent.period.window(now)) {
            let window = current(&mut windows, &(spent.backend.clone(), spent.period), now);
            window.cost = window.cost.max(u128::from(spent.cost));
            window.tokens = window.tokens.max(spent.tokens);
        }
    }

    /// A ledger whose journal can be read and not written.
    #[cfg(test)]
    pub fn unwritable(path: &Path) -> Self {
        let journal = Journal::unwritable(path).expect("a journal");
        Self(Arc::new(Books { journal: Some(Mutex::new(journal)), ..Books::default() }))
    }

    /// What is spent in the current window of all backends together: cost in millionths of a millionth of a dollar, and tokens.
    #[cfg(test)]
    pub fn spent(&self, period: Period, now: Timestamp) -> (u128, u64) {
        let mut windows = lock(&self.0.windows);
        let window = current(&mut windows, &(None, period), now);
        (window.cost, window.tokens)
    }
}

impl Reservation {
    /// The answer is over. What was reported counts; where it broke off or nothing was said, what passed is estimated, and never
    /// at more than was set aside.
    pub fn settle(mut self, ended: &Ended) -> Charge {
        let guess = ended.events.unwrap_or(ended.bytes / BYTES_PER_TOKEN + 1).min(self.tokens.1);
        let input = ended.usage.input.unwrap_or(self.tokens.0);
        let output = match (ended.usage.output, ended.complete) {
            (Some(reported), true) => reported,
            (reported, _) => reported.unwrap_or(0).max(guess),
        };
        let unsaid = ended.usage.output.is_none() && self.tokens.1 > 0;
        let estimated = !ended.complete || ended.usage.input.is_none() || unsaid;
        let Usage { cached, written, .. } = ended.usage;
        let cost = self.prices.cost(Tokens { input, cached, written, output });
        self.close(cost, input.saturating_add(output));
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let cached_tokens = cached.min(input);
        Charge { input_tokens: input, cached_tokens, output_tokens: output, cost, estimated }
    }

    /// Nothing was sent, or nothing was served: nothing is spent.
    pub fn release(mut self) {
        self.close(0, 0);
    }

    fn close(&mut self, cost: u128, tokens: u64) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        let reserved = self.tokens.0.saturating_add(self.tokens.1);
        let mut windows = lock(&self.books.windows);
        for (key, number) in &self.keys {
            // What began in a window that is over counts there, so nowhere any more.
            if let Some(window) = windows.get_mut(key).filter(|w| w.number == *number) {
                window.reserved_cost = window.reserved_cost.saturating_sub(self.cost);
                window.reserved_tokens = window.reserved_tokens.saturating_sub(reserved);
                window.cost += cost;
                window.tokens = window.tokens.saturating_add(tokens);
            }
        }
        let line = Line::Close { id: std::mem::take(&mut self.id), cost, tokens };
        if let Err(error) = self.books.write(line) {
            // It stays open there, and so counts as it was set aside: more rather than less.
            tracing::error!(%error, "what inference cost can't be written down");
        }
        if self.books.is_long() {
            self.books.compact(&windows);
        }
    }
}

impl Books {
    fn write(&self, line: Line) -> io::Result<()> {
        match &self.journal {
            None => Ok(()),
            Some(journal) => lock(journal).write(line),
        }
    }

    fn is_long(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| lock(journal).is_long())
    }

    fn compact(&self, windows: &BTreeMap<Key, Window>) {
        let Some(journal) = &self.journal else { return };
        let rows = windows.iter().map(|((backend, period), window)| journal::Row {
            backend: backend.clone(),
            period: *period,
            window: window.number,
            cost: window.cost,
            tokens: window.tokens,
        });
        let done = lock(journal).compact(rows.collect());
        if let Err(error) = done {
            tracing::error!(%error, "the ledger of inference can't be written anew");
        }
    }
}

/// The windows that something of this moment on a backend counts in, and their numbers.
fn keys_at(backend: &str, at: Timestamp) -> impl Iterator<Item = (Key, i64)> {
    [None, Some(backend.to_owned())]
        .into_iter()
        .flat_map(move |name| Period::ALL.map(|period| ((name.clone(), period), period.window(at))))
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.close(self.cost, self.tokens.0.saturating_add(self.tokens.1));
    }
}

fn lock<T>(books: &Mutex<T>) -> MutexGuard<'_, T> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The window that `now` falls into; a new one begins empty. A clock that goes back does not bring an old one back.
fn current<'w>(windows: &'w mut BTreeMap<Key, Window>, key: &Key, now: Timestamp) -> &'w mut Window {
    let number = key.1.window(now);
    let window = windows.entry(key.clone()).or_default();
    if window.number < number {
        *window = Window { number, ..Window::default() };
    }
    window
}

fn exhausted(
    budget: &Budget,
    window: &Window,
    cost: Option<u128>,
    tokens: Option<u64>,
    asked: (u128, u64),
) -> Exhausted {
    let whose = budget.backend.as_ref().map_or_else(|| "this sandbox".to_owned(), |name| format!("backend {name}"));
    let spent = match (cost, tokens) {
        (Some(limit), _) => format!(
            "${} of ${} spent, ${} set aside for requests under way, and this one may cost ${}",
            price::dollars(window.cost),
            price::dollars(limit),
            price::dollars(window.reserved_cost),
            price::dollars(asked.0),
        ),
        (None, limit) => format!(
            "{} of {} tokens used, {} set aside for requests under way, and this one may use {}",
            window.tokens,
            limit.unwrap_or_default(),
            window.reserved_tokens,
            asked.1,
        ),
    };
    Exhausted::Budget { whose, period: budget.period.words(), spent }
}
