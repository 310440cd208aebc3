//! What gateways share, sealed. Keys that turn have a number; whoever writes to the audit trail has those of the newest number first.

use super::db::{Row, Transaction, Turn, query, query_scalar};
use super::{Database, Store, StoreError, int, uint};
use crate::audit::Change;
use crate::secrets::{KEYS, KeyringError};

/// One thing that is shared.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// A greater one is newer; 0: it has none.
    pub number: u64,
    /// Itself.
    pub sealed: Vec<u8>,
}

/// The keys that turn.
#[derive(Debug, Clone)]
pub struct SealedKeys {
    /// A greater one is newer.
    pub number: u64,
    /// Themselves.
    pub sealed: Vec<u8>,
}

/// The number of the keys, and themselves if they are newer than those of a number.
macro_rules! newer {
    () => {
        "SELECT number, CASE WHEN number > $1 THEN sealed END AS sealed FROM keyring WHERE name = $2"
    };
}

impl Database {
    /// What the gateways of the database share, by name; `fill` says what is to be added. Where it adds something, `older` entries go. One gateway at a
    /// time begins it.
    pub async fn keyring(
        &self,
        fill: impl FnOnce(Vec<Entry>) -> Result<Vec<Entry>, KeyringError>,
        older: &[&str],
    ) -> Result<Result<(), KeyringError>, StoreError> {
        let mut tx = self.write.begin(Turn::Keyring).await?;
        let rows = query("SELECT name, number, sealed FROM keyring ORDER BY name").fetch_all(&mut tx).await?;
        let known = rows.iter().map(|row| {
            Ok(Entry {
                name: row.try_get("name")?,
                number: uint(row.try_get("number")?),
                sealed: row.try_get("sealed")?,
            })
        });
        let added = match fill(known.collect::<Result<_, StoreError>>()?) {
            Ok(added) => added,
            Err(error) => return Ok(Err(error)),
        };
        for name in older.iter().filter(|_| !added.is_empty()) {
            query("DELETE FROM keyring WHERE name = $1").bind(*name).execute(&mut tx).await?;
        }
        for Entry { name, number, sealed } in &added {
            query("INSERT INTO keyring (name, number, sealed) VALUES ($1, $2, $3)")
                .bind(name)
                .bind(int(*number))
                .bind(sealed)
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// One of them.
    pub async fn keyring_entry(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(query_scalar("SELECT sealed FROM keyring WHERE name = $1").bind(name).fetch_optional(&self.read).await?)
    }

    /// Replaces one of them that has no number.
    pub async fn set_keyring_entry(&self, name: &str, sealed: &[u8]) -> Result<(), StoreError> {
        query("UPDATE keyring SET sealed = $2 WHERE name = $1").bind(name).bind(sealed).execute(&self.write).await?;
        Ok(())
    }
}

impl Store {
    /// Takes the keys of now over, where gateways share them and others have turned them.
    pub async fn adopt(&self) -> Result<(), StoreError> {
        let Some(keyring) = &self.trail.keyring else { return Ok(()) };
        let known = int(keyring.number());
        let row = query(newer!()).bind(known).bind(KEYS).fetch_optional(&self.read).await?;
        match row.as_ref().map(newer).transpose()? {
            Some((number, Some(sealed))) => Ok(keyring.take(&SealedKeys { number, sealed })?),
            _ => Ok(()),
        }
    }

    /// Begins to write to the trail, with the keys of now: nobody turns them until the transaction ends. Refuses where the database has older
    /// ones than it had.
    pub(super) async fn begin_trail(&self) -> Result<Transaction, StoreError> {
        let mut tx = self.write.begin(Turn::Trail).await?;
        if let Some(keyring) = &self.trail.keyring {
            let known = keyring.number();
            let row = query(newer!()).bind(int(known)).bind(KEYS).fetch_optional(&mut tx).await?;
            match row.as_ref().map(newer).transpose()? {
                Some((number, Some(sealed))) => keyring.take(&SealedKeys { number, sealed })?,
                Some((found, None)) if found == known => {}
                other => {
                    let found = other.map_or(0, |(found, _)| found);
                    return Err(KeyringError::SetBack { known, found }.into());
                }
            }
        }
        Ok(tx)
    }

    /// Puts keys in the place of those of the number before, with an entry of the trail if there is a change to tell. `false`: others are there.
    pub async fn put_keys(&self, keys: &SealedKeys, change: Option<&Change>) -> Result<bool, StoreError> {
        match change {
            None => {
                let mut tx = self.begin_trail().await?;
                let put = put(&mut tx, keys).await?;
                tx.commit().await?;
                Ok(put)
            }
            Some(change) => {
                let mut changing = self.changing(change).await?;
                let put = put(changing.tx(), keys).await?;
                if put {
                    changing.commit().await?;
                }
                Ok(put)
            }
        }
    }
}

async fn put(tx: &mut Transaction, keys: &SealedKeys) -> Result<bool, StoreError> {
    let put = query("UPDATE keyring SET number = $1, sealed = $2 WHERE name = $3 AND number = $1 - 1")
        .bind(int(keys.number))
        .bind(&keys.sealed)
        .bind(KEYS)
        .execute(tx)
        .await?;
    Ok(put.rows_affected() == 1)
}

fn newer(row: &Row) -> Result<(u64, Option<Vec<u8>>), StoreError> {
    Ok((uint(row.try_get("number")?), row.try_get("sealed")?))
}
