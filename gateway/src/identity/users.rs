//! Making users and tokens.

use std::sync::Arc;

use openshell_api::user::{CreateToken, CreateUser, CreatedToken, Role, SetUser, Token, User};
use serde_json::json;

use super::permit::{Administer, FIRST_ADMIN, Permit, Read};
use super::tokens;
use crate::error::{ApiError, ApiResult, refuse};
use crate::etag::Expected;
use crate::gateway::Gateway;

/// Names that mean something else where users are named.
const RESERVED: [&str; 2] = ["gateway", "nobody"];
/// Shortest and longest life of a token that expires, in seconds.
const LIVES: std::ops::RangeInclusive<u64> = 60..=10 * 366 * 86_400;
/// Tokens that a user may have.
const MOST_TOKENS: usize = 100;

/// Makes a user.
pub async fn create(gateway: Arc<Gateway>, permit: Permit<Administer>, create: CreateUser) -> ApiResult<User> {
    if RESERVED.contains(&create.name.as_str()) {
        return Err(refuse(422, "bad_name", format!("no user can be named {}", create.name)));
    }
    let change = permit.change(&create.name).after(json!({ "role": create.role }));
    gateway.store.insert_user(&create.name, create.role, &change).await.map_err(|error| {
        match ApiError::from(error) {
            error if error.0.status == 409 => error.hint(
                "choose another name; that of a deleted user stays its own, for sandboxes and the audit trail name it",
            ),
            error => error,
        }
    })?;
    known(&gateway, create.name.as_str()).await
}

/// Changes a user's role, from its next request on.
pub async fn set(
    gateway: Arc<Gateway>,
    permit: Permit<Administer>,
    name: String,
    set: SetUser,
    expected: Expected,
) -> ApiResult<User> {
    let _alone = gateway.locks.alone().await?;
    let before = known(&gateway, &name).await?;
    expected.check(&format!("user {name}"), &before)?;
    if name == FIRST_ADMIN && set.role != Role::Admin {
        return Err(first_admin("stays an administrator"));
    }
    let change = permit.change(&name).before(json!({ "role": before.role })).after(json!({ "role": set.role }));
    match gateway.store.set_role(&name, set.role, &change).await? {
        true => known(&gateway, &name).await,
        false => Err(not_found(&name)),
    }
}

/// Deletes a user; its tokens open nothing any more. Its sandboxes stay, and stay its own: administrators have them.
pub async fn delete(gateway: Arc<Gateway>, permit: Permit<Administer>, name: String) -> ApiResult<()> {
    if name == FIRST_ADMIN {
        return Err(first_admin("can't be deleted"));
    }
    let before = known(&gateway, &name).await?;
    let change = permit.change(&name).before(json!({ "role": before.role, "tokens": before.tokens }));
    match gateway.store.delete_user(&name, &change).await? {
        true => Ok(()),
        false => Err(not_found(&name)),
    }
}

/// A user's tokens. One's own, or an administrator asks.
pub async fn tokens(gateway: &Gateway, permit: &Permit<Read>, name: &str) -> ApiResult<Vec<Token>> {
    permit.owns_what("that list", name)?;
    known(gateway, name).await?;
    Ok(gateway.store.tokens(name).await?)
}

/// Makes a token: for oneself, or an administrator makes it for somebody. Its value is answered this once, and kept nowhere.
pub async fn create_token(
    gateway: Arc<Gateway>,
    permit: Permit<Read>,
    name: String,
    create: CreateToken,
) -> ApiResult<CreatedToken> {
    permit.owns_what(&format!("user {name}"), &name)?;
    let user = known(&gateway, &name).await?;
    let now = jiff::Timestamp::now();
    if let Some(life) = create.expires_in_s.filter(|life| !LIVES.contains(life)) {
        return Err(refuse(422, "bad_expiry", format!("a token can't live for {life} s"))
            .hint("from 60 seconds to ten years, or leave it out for one that does not expire"));
    }
    if gateway.store.tokens(&name).await?.len() >= MOST_TOKENS {
        return Err(refuse(409, "too_many_tokens", format!("{name} has {MOST_TOKENS} tokens"))
            .hint("revoke some: `openshell token list` shows them"));
    }
    let secret = super::tokens::generate("osh_user")?;
    let token = Token {
        id: ulid::Ulid::generate().to_string(),
        name: create.name,
        user: user.name,
        created_at: now,
        expires_at: create.expires_in_s.map(|life| now + std::time::Duration::from_secs(life)),
        used_at: None,
    };
    let after = json!({ "id": token.id, "name": token.name, "expires_at": token.expires_at });
    gateway.store.insert_token(&token, &tokens::hash(&secret), &permit.change(&name).after(after)).await?;
    Ok(CreatedToken { secret: secret.to_string(), token })
}

/// Revokes a token: one's own, or an administrator does. It opens nothing from now on.
pub async fn revoke_token(gateway: Arc<Gateway>, permit: Permit<Read>, id: String) -> ApiResult<()> {
    let not_found = || ApiError::not_found("token", &id).hint("`openshell token list` shows one's own");
    let token = gateway.store.token(&id).await?.ok_or_else(not_found)?;
    permit.owns_what("that token", token.user.as_str())?;
    let before = json!({ "id": token.id, "name": token.name, "expires_at": token.expires_at });
    match gateway.store.delete_token(&id, &permit.change(&token.user).before(before)).await? {
        true => Ok(()),
        false => Err(not_found()),
    }
}

/// A user of the gateway's own.
pub async fn known(gateway: &Gateway, name: &str) -> ApiResult<User> {
    gateway.store.user(name).await?.ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> ApiError {
    ApiError::not_found("user", name)
        .hint("`openshell user list` shows them; users whom a provider vouches for are none of the gateway's own")
}

fn first_admin(what: &str) -> ApiError {
    refuse(
        409,
        "first_admin",
        format!("{FIRST_ADMIN} {what}: whoever can read the gateway's state directory is that user"),
    )
}
