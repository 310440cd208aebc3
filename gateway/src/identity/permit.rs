//! Permission as a value: whoever changes something holds a [`Permit`], and only the check of a caller's role makes one.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openshell_api::user::Role;

use super::caller::Caller;
use crate::audit::Change;
use crate::error::{ApiResult, refuse};
use crate::store::SandboxRow;

/// What a call needs.
pub trait Right: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The least role that has it.
    const LEAST: Role;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! right {
    ($(#[$doc:meta])* $name:ident, $role:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Right for $name {
            const LEAST: Role = Role::$role;
        }
    };
}

right!(
    /// To look.
    Read,
    Viewer
);
right!(
    /// To make sandboxes, and to change one's own.
    Operate,
    Operator
);
right!(
    /// To change what everybody shares.
    Administer,
    Admin
);

/// Who acts.
#[derive(Debug, Clone)]
pub enum Actor {
    /// A user.
    Caller(Arc<Caller>),
    /// The gateway itself.
    Gateway,
}

/// The right to do one thing now. Made by [`Permit::check`] alone.
#[derive(Debug, Clone)]
pub struct Permit<R> {
    actor: Actor,
    action: &'static str,
    /// Whether a change that it permits was written down.
    told: Arc<AtomicBool>,
    right: PhantomData<R>,
}

impl<R: Right> Permit<R> {
    /// Lets a caller do `action`. Refuses a role that is too low.
    pub fn check(caller: Arc<Caller>, action: &'static str, told: Arc<AtomicBool>) -> ApiResult<Self> {
        if caller.role < R::LEAST {
            return Err(refuse(
                403,
                "forbidden",
                format!("{} is {}, and {action} needs the role {}", caller.user, caller.role, R::LEAST),
            )
            .hint("ask an administrator of the gateway: `openshell user update` changes roles"));
        }
        Ok(Self { actor: Actor::Caller(caller), action, told, right: PhantomData })
    }

    /// What the gateway does by itself.
    pub(crate) fn of_gateway(action: &'static str) -> Self {
        Self { actor: Actor::Gateway, action, told: Arc::default(), right: PhantomData }
    }

    /// Who has it.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Name of the user who has it; the gateway's own acts are the first administrator's.
    pub fn user(&self) -> &str {
        match &self.actor {
            Actor::Caller(caller) => &caller.user,
            Actor::Gateway => FIRST_ADMIN,
        }
    }

    /// Whether it is an administrator's.
    pub fn is_admin(&self) -> bool {
        match &self.actor {
            Actor::Caller(caller) => caller.role == Role::Admin,
            Actor::Gateway => true,
        }
    }

    /// Refuses a sandbox of somebody else, unless an administrator asks.
    pub fn owns(&self, row: &SandboxRow) -> ApiResult<()> {
        self.owns_what(&format!("sandbox {}", row.name), &row.owner)
    }

    /// Refuses what belongs to somebody else, unless an administrator asks.
    pub fn owns_what(&self, what: &str, owner: &str) -> ApiResult<()> {
        if self.is_admin() || self.user() == owner {
            return Ok(());
        }
        Err(refuse(403, "not_yours", format!("{what} belongs to {owner}, not to {}", self.user()))
            .hint("ask its owner, or an administrator of the gateway"))
    }

    /// The change that this permits, to be written down with it.
    pub fn change(&self, object: impl std::fmt::Display) -> Change {
        self.told.store(true, Ordering::Relaxed);
        let caller = match &self.actor {
            Actor::Caller(caller) => Some(caller.clone()),
            Actor::Gateway => None,
        };
        Change::new(caller, self.action, object.to_string())
    }
}

/// Name of the user to whom the token in the state directory belongs.
pub const FIRST_ADMIN: &str = "admin";
