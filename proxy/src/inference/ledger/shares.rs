//! What this sandbox may spend of budgets that it shares with others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use openshell_api::inference::{Budget, Period};
use openshell_api::share::{Pot, Share, Want};

use super::{Key, Window, current};

/// The shares that were dealt to it, by pot.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<Pot, Share>);

impl Shares {
    /// Whether what is spent and set aside, and `cost` and `tokens` more, fits into every share that is needed of `budgets`; else what
    /// to ask for.
    pub fn fits(
        &self,
        budgets: &[Budget],
        windows: &mut BTreeMap<Key, Window>,
        backend: &str,
        (cost, tokens): (u128, u64),
        now: Timestamp,
    ) -> Result<(), Want> {
        for budget in budgets.iter().filter(|b| b.backend.as_ref().is_none_or(|name| name.as_str() == backend)) {
            let pot = Pot::of(budget, now);
            let window = current(windows, &key(&pot), now);
            let after = (window.cost + window.reserved_cost + cost, window.tokens + window.reserved_tokens + tokens);
            let share = self.0.get(&pot);
            // A request that costs nothing needs no share of the dollars.
            let poor = cost > 0
                && budget.cost.is_some()
                && share.and_then(|share| share.cost).is_none_or(|held| u128::from(held) < after.0);
            let short =
                budget.tokens.is_some() && share.and_then(|share| share.tokens).is_none_or(|held| held < after.1);
            if poor || short {
                let cost = if poor { u64::try_from(after.0).unwrap_or(u64::MAX) } else { 0 };
                return Err(Want { pot, cost, tokens: if short { after.1 } else { 0 } });
            }
        }
        Ok(())
    }

    /// Takes a share over, unless a newer one is held.
    pub fn dealt(&mut self, share: Share) {
        match self.0.get(&share.pot) {
            Some(held) if held.serial >= share.serial => {}
            _ => drop(self.0.insert(share.pot.clone(), share)),
        }
    }

    /// Keeps of each of these shares, as the gateway counts them, what is spent and set aside; answers what that is. One that is held and
    /// newer stays as it is. Shares of windows that are over are forgotten.
    pub fn give_back(
        &mut self,
        counted: Vec<Share>,
        windows: &mut BTreeMap<Key, Window>,
        now: Timestamp,
    ) -> Vec<Share> {
        let is_over = |pot: &Pot| pot.window != pot.period.window(now);
        self.0.retain(|pot, _| !is_over(pot));
        let mut left = Vec::new();
        for mut share in counted {
            let newer = self.0.get(&share.pot).is_some_and(|held| held.serial > share.serial);
            if newer || is_over(&share.pot) {
                continue;
            }
            let window = current(windows, &key(&share.pot), now);
            let used = u64::try_from(window.cost + window.reserved_cost).unwrap_or(u64::MAX);
            share.cost = share.cost.map(|counted| counted.min(used));
            share.tokens = share.tokens.map(|counted| counted.min(window.tokens + window.reserved_tokens));
            self.0.insert(share.pot.clone(), share.clone());
            left.push(share);
        }
        left
    }
}

fn key(pot: &Pot) -> (Option<String>, Period) {
    (pot.backend.as_ref().map(ToString::to_string), pot.period)
}
