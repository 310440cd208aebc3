//! Users and their tokens.

use openshell_api::Name;
use openshell_api::user::{Role, Token, User};

use super::db::{Row, query};
use super::{Store, StoreError, is_unique_violation, millis, name, timestamp, uint};
use crate::audit::Change;
use crate::identity::tokens::TokenHash;

/// A token that is shown, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownToken {
    /// Its id.
    pub id: String,
    /// Its user.
    pub user: String,
    /// What that may do now.
    pub role: Role,
    /// When it expires.
    pub expires: Option<jiff::Timestamp>,
}

const USERS: &str = "SELECT name, role, created_at, (SELECT count(*) FROM user_tokens WHERE \"user\" = users.name \
    AND (expires_ms IS NULL OR expires_ms > $1)) AS tokens FROM users WHERE deleted_at IS NULL";

impl Store {
    /// Every user, by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{USERS} ORDER BY name"));
        let rows = query(sql).bind(jiff::Timestamp::now().as_millisecond()).fetch_all(&self.read).await?;
        rows.iter().map(user).collect()
    }

    /// Users whose names follow `after`, by name, at most so many.
    pub async fn users_after(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{USERS} AND name > $2 ORDER BY name LIMIT $3"));
        let page = query(sql).bind(jiff::Timestamp::now().as_millisecond());
        let page = page.bind(after.unwrap_or_default()).bind(i64::from(limit));
        page.fetch_all(&self.read).await?.iter().map(user).collect()
    }

    /// A user by name.
    pub async fn user(&self, name: &str) -> Result<Option<User>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{USERS} AND name = $2"));
        let now = jiff::Timestamp::now().as_millisecond();
        let row = query(sql).bind(now).bind(name).fetch_optional(&self.read).await?;
        row.as_ref().map(user).transpose()
    }

    /// Makes a user. Refuses a name that is or was taken.
    pub async fn insert_user(&self, name: &Name, role: Role, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query("INSERT INTO users (name, role, created_at) VALUES ($1, $2, $3)")
            .bind(name.as_str())
            .bind(role.word())
            .bind(jiff::Timestamp::now().to_string())
            .execute(changing.tx())
            .await
            .map_err(|error| exists(error, "user", name.as_str()))?;
        changing.commit().await
    }

    /// Makes sure that there is a user, without a word in the audit trail: the first administrator.
    pub async fn ensure_user(&self, name: &str, role: Role) -> Result<(), StoreError> {
        query("INSERT INTO users (name, role, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(role.word())
            .bind(jiff::Timestamp::now().to_string())
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Changes a user's role; `false`: there is none of that name.
    pub async fn set_role(&self, name: &str, role: Role, change: &Change) -> Result<bool, StoreError> {
        let mut changing = self.changing(change).await?;
        let done = query("UPDATE users SET role = $1 WHERE name = $2 AND deleted_at IS NULL")
            .bind(role.word())
            .bind(name)
            .execute(changing.tx())
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        changing.commit().await.map(|()| true)
    }

    /// Deletes a user and all its tokens; `false`: there is none of that name. Its name stays taken.
    pub async fn delete_user(&self, name: &str, change: &Change) -> Result<bool, StoreError> {
        let mut changing = self.changing(change).await?;
        let done = query("UPDATE users SET deleted_at = $1 WHERE name = $2 AND deleted_at IS NULL")
            .bind(jiff::Timestamp::now().to_string())
            .bind(name)
            .execute(changing.tx())
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        query("DELETE FROM user_tokens WHERE \"user\" = $1").bind(name).execute(changing.tx()).await?;
        changing.commit().await.map(|()| true)
    }

    /// A user's tokens, oldest first.
    pub async fn tokens(&self, user: &str) -> Result<Vec<Token>, StoreError> {
        let rows =
            query("SELECT * FROM user_tokens WHERE \"user\" = $1 ORDER BY id").bind(user).fetch_all(&self.read).await?;
        rows.iter().map(token).collect()
    }

    /// A token by its id.
    pub async fn token(&self, id: &str) -> Result<Option<Token>, StoreError> {
        let row = query("SELECT * FROM user_tokens WHERE id = $1").bind(id).fetch_optional(&self.read).await?;
        row.as_ref().map(token).transpose()
    }

    /// Keeps a token's hash. Refuses a name that its user has given to another one.
    pub async fn insert_token(&self, token: &Token, hash: &TokenHash, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        query(
            "INSERT INTO user_tokens (id, \"user\", name, hash, created_at, expires_ms)
             SELECT $1, name, $3, $4, $5, $6 FROM users WHERE name = $2 AND deleted_at IS NULL",
        )
        .bind(&token.id)
        .bind(token.user.as_str())
        .bind(token.name.as_str())
        .bind(hash.as_slice())
        .bind(token.created_at.to_string())
        .bind(token.expires_at.map(|at| at.as_millisecond()))
        .execute(changing.tx())
        .await
        .map_err(|error| exists(error, "token", token.name.as_str()))?;
        changing.commit().await
    }

    /// Forgets a token; `false`: there is none of that id.
    pub async fn delete_token(&self, id: &str, change: &Change) -> Result<bool, StoreError> {
        let mut changing = self.changing(change).await?;
        let done = query("DELETE FROM user_tokens WHERE id = $1").bind(id).execute(changing.tx()).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        changing.commit().await.map(|()| true)
    }

    /// Whose a token is.
    pub async fn known_token(&self, hash: &TokenHash) -> Result<Option<KnownToken>, StoreError> {
        let row = query(
            "SELECT user_tokens.id, \"user\", role, expires_ms FROM user_tokens JOIN users ON users.name = \"user\"
             WHERE hash = $1 AND deleted_at IS NULL",
        )
        .bind(hash.as_slice())
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(KnownToken {
            id: row.try_get("id")?,
            user: row.try_get("user")?,
            role: role(row.try_get("role")?)?,
            expires: millis(row.try_get("expires_ms")?)?,
        }))
    }

    /// Keeps when a token was used.
    pub async fn token_used(&self, id: &str, at: jiff::Timestamp) -> Result<(), StoreError> {
        query("UPDATE user_tokens SET used_ms = $1 WHERE id = $2")
            .bind(at.as_millisecond())
            .bind(id)
            .execute(&self.write)
            .await?;
        Ok(())
    }
}

fn exists(error: sqlx::Error, what: &'static str, name: &str) -> StoreError {
    match is_unique_violation(&error) {
        true => StoreError::Exists { what, name: name.to_owned() },
        false => error.into(),
    }
}

fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        name: name(row.try_get("name")?)?,
        role: role(row.try_get("role")?)?,
        created_at: timestamp(row.try_get("created_at")?)?,
        tokens: uint(row.try_get("tokens")?),
    })
}

fn token(row: &Row) -> Result<Token, StoreError> {
    Ok(Token {
        id: row.try_get("id")?,
        name: name(row.try_get("name")?)?,
        user: name(row.try_get("user")?)?,
        created_at: timestamp(row.try_get("created_at")?)?,
        expires_at: millis(row.try_get("expires_ms")?)?,
        used_at: millis(row.try_get("used_ms")?)?,
    })
}

fn role(text: &str) -> Result<Role, StoreError> {
    text.parse().map_err(|_| StoreError::Unknown { what: "role", value: text.to_owned() })
}
