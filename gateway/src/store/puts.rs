//! What gateways put into a bucket, from before it is put there until a module names it.
//!
//! Each attempt to put something has an object of its own, and a row here that is committed first ([`Store::will_put`]). Then one of two things
//! becomes of the row, and the database lets only one of them: the transaction that stores the module takes it away ([`settle`]), or it is *given up*,
//! and the object is removed from then on. So an object that a module names is never removed, however late a removal arrives: the same bytes
//! that are put again meanwhile are another object. Times say when an attempt is taken for dead, and never whether a module keeps its bytes.

use super::db::{On, Query, Transaction, query, query_scalar};
use super::homes::Spot;
use super::replicas::now_ms;
use super::{Store, StoreError, uint};

/// How long an attempt took so far, in milliseconds. One that seems to begin in the future is as old: the clock was set back.
macro_rules! age_ms {
    () => {
        concat!("abs(", now_ms!(), " - begun_ms)")
    };
}

impl Store {
    /// This gateway (by its id) is about to put an object there. It may be put once this has answered.
    pub async fn will_put(&self, spot: &Spot, gateway: &str) -> Result<(), StoreError> {
        let sql =
            concat!("INSERT INTO module_puts (place, object, gateway, begun_ms) VALUES ($1, $2, $3, ", now_ms!(), ")");
        about(sql, spot).bind(gateway).execute(&self.write).await?;
        Ok(())
    }

    /// No module will name this object, unless one does already.
    pub async fn give_up_put(&self, spot: &Spot) -> Result<(), StoreError> {
        give_up(&self.write, spot).await
    }

    /// What this gateway was about to put when it ended is given up.
    pub async fn give_up_puts_of(&self, gateway: &str) -> Result<(), StoreError> {
        query("UPDATE module_puts SET given_up = 1 WHERE gateway = $1 AND given_up = 0")
            .bind(gateway)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// So is what any gateway has been putting there for ten minutes: an attempt takes one at most, so whoever made it is gone.
    pub async fn give_up_old_puts(&self, place: &str) -> Result<(), StoreError> {
        let sql = concat!(
            "UPDATE module_puts SET given_up = 1 WHERE place = $1 AND given_up = 0 AND ",
            age_ms!(),
            " > 600000"
        );
        query(sql).bind(place).execute(&self.write).await?;
        Ok(())
    }

    /// An attempt was given up while it was under way, and its transaction has come to nothing: what it put there goes, also where that was
    /// forgotten meanwhile.
    pub async fn put_too_late(&self, spot: &Spot, gateway: &str) -> Result<(), StoreError> {
        let sql = concat!(
            "INSERT INTO module_puts (place, object, gateway, begun_ms, given_up) VALUES ($1, $2, $3, ",
            now_ms!(),
            ", 1) ON CONFLICT (place, object) DO UPDATE SET begun_ms = excluded.begun_ms, given_up = 1, removed_ms = NULL"
        );
        about(sql, spot).bind(gateway).execute(&self.write).await?;
        Ok(())
    }

    /// Objects to remove from there now, the oldest first. One that was removed comes again, after twice the time each: a server may still have
    /// been about to take it.
    pub async fn puts_to_undo(&self, place: &str) -> Result<Vec<String>, StoreError> {
        let sql = concat!(
            "SELECT object FROM module_puts WHERE place = $1 AND given_up = 1
             AND (removed_ms IS NULL OR ",
            age_ms!(),
            " > 2 * abs(removed_ms - begun_ms))
             AND NOT EXISTS (SELECT 1 FROM modules
                 WHERE modules.place = module_puts.place AND modules.object = module_puts.object)
             ORDER BY begun_ms, object LIMIT 100"
        );
        let rows = query(sql).bind(place).fetch_all(&self.read).await?;
        rows.iter().map(|row| Ok(row.try_get("object")?)).collect()
    }

    /// An object was removed. After an hour nothing comes any more, and it is forgotten.
    pub async fn undone_put(&self, place: &str, object: &str) -> Result<(), StoreError> {
        let forget = concat!(
            "DELETE FROM module_puts WHERE place = $1 AND object = $2 AND given_up = 1 AND ",
            age_ms!(),
            " > 3600000"
        );
        let keep = concat!("UPDATE module_puts SET removed_ms = ", now_ms!(), " WHERE place = $1 AND object = $2");
        for sql in [forget, keep] {
            query(sql).bind(place).bind(object).execute(&self.write).await?;
        }
        Ok(())
    }

    /// How many objects are to be removed from there and were not yet.
    pub async fn count_left(&self, place: &str) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM module_puts WHERE place = $1 AND given_up = 1 AND removed_ms IS NULL";
        Ok(uint(query_scalar::<i64>(sql).bind(place).fetch_one(&self.read).await?))
    }
}

/// A module that is stored in this transaction names the object: it stays. False: it was given up before, and may be gone.
pub(super) async fn settle(tx: &mut Transaction, spot: &Spot) -> Result<bool, StoreError> {
    let sql = "DELETE FROM module_puts WHERE place = $1 AND object = $2 AND given_up = 0";
    Ok(about(sql, spot).execute(tx).await?.rows_affected() == 1)
}

/// No module will name this object, unless one does already: it goes. In a transaction: if that is committed.
pub(super) async fn give_up<'a>(on: impl Into<On<'a>>, spot: &Spot) -> Result<(), StoreError> {
    about("UPDATE module_puts SET given_up = 1 WHERE place = $1 AND object = $2", spot).execute(on).await?;
    Ok(())
}

/// A statement about an object: its place is the first argument, and its name the second.
fn about<'q>(sql: &'static str, spot: &'q Spot) -> Query<'q> {
    query(sql).bind(&spot.place).bind(&spot.object)
}
