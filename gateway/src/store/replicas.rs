//! The gateways of one database: who is there, and which sandbox is linked to which. Times are the database's, for clocks differ.

use super::db::{Row, query, query_scalar};
use super::{Store, StoreError, int};

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its id, the same for as long as its state directory is.
    pub id: String,
    /// Where the others and supervisors reach it.
    pub url: String,
}

/// The database's time, in milliseconds since the Unix epoch.
macro_rules! now_ms {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS BIGINT)"
    };
}

/// Whether a row of `replicas` is of one that lives: it says so every second.
macro_rules! alive {
    () => {
        concat!("replicas.seen_ms > ", crate::store::replicas::now_ms!(), " - 5000")
    };
}
pub(super) use {alive, now_ms};

impl Store {
    /// A gateway lives, and is reached there.
    pub async fn beat(&self, replica: &Replica) -> Result<(), StoreError> {
        query(concat!(
            "INSERT INTO replicas (id, url, seen_ms) VALUES ($1, $2, ",
            now_ms!(),
            ") ON CONFLICT (id) DO UPDATE SET url = excluded.url, seen_ms = excluded.seen_ms",
        ))
        .bind(&replica.id)
        .bind(&replica.url)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// A gateway ends, or begins: nothing is linked to it. Those that were not seen for a day are forgotten.
    pub async fn forget_links(&self, replica: &str, gone: bool) -> Result<(), StoreError> {
        query("DELETE FROM links WHERE replica = $1").bind(replica).execute(&self.write).await?;
        if gone {
            query("UPDATE replicas SET seen_ms = 0 WHERE id = $1").bind(replica).execute(&self.write).await?;
        }
        query(concat!("DELETE FROM replicas WHERE seen_ms < ", now_ms!(), " - 86400000 AND id <> $1"))
            .bind(replica)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Those that live, by id.
    pub async fn replicas(&self) -> Result<Vec<Replica>, StoreError> {
        let rows =
            query(concat!("SELECT id, url FROM replicas WHERE ", alive!(), " ORDER BY id")).fetch_all(&self.read);
        let rows = rows.await?;
        rows.iter().map(replica).collect()
    }

    /// One of them, if it lives.
    pub async fn replica(&self, id: &str) -> Result<Option<Replica>, StoreError> {
        Ok(self.replicas().await?.into_iter().find(|replica| replica.id == id))
    }

    /// A sandbox's link is there now, whichever it had before.
    pub async fn put_link(&self, sandbox_id: &str, replica: &str, number: u64) -> Result<(), StoreError> {
        query(
            "INSERT INTO links (sandbox_id, replica, number) SELECT id, $2, $3 FROM sandboxes WHERE id = $1
             ON CONFLICT (sandbox_id) DO UPDATE SET replica = excluded.replica, number = excluded.number",
        )
        .bind(sandbox_id)
        .bind(replica)
        .bind(int(number))
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// A link has ended. A newer one stays.
    pub async fn drop_link(&self, sandbox_id: &str, replica: &str, number: u64) -> Result<(), StoreError> {
        query("DELETE FROM links WHERE sandbox_id = $1 AND replica = $2 AND number = $3")
            .bind(sandbox_id)
            .bind(replica)
            .bind(int(number))
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// The living gateway that a sandbox is linked to.
    pub async fn linked_to(&self, sandbox_id: &str) -> Result<Option<Replica>, StoreError> {
        let sql = concat!(
            "SELECT replicas.id, url FROM links JOIN replicas ON replicas.id = links.replica WHERE sandbox_id = $1 AND ",
            alive!()
        );
        let row = query(sql).bind(sandbox_id).fetch_optional(&self.read).await?;
        row.as_ref().map(replica).transpose()
    }

    /// How many sandboxes are linked to living gateways.
    pub async fn count_linked(&self) -> Result<u64, StoreError> {
        let sql = concat!("SELECT count(*) FROM links JOIN replicas ON replicas.id = links.replica WHERE ", alive!());
        let count: i64 = query_scalar(sql).fetch_one(&self.read).await?;
        Ok(super::uint(count))
    }
}

fn replica(row: &Row) -> Result<Replica, StoreError> {
    Ok(Replica { id: row.try_get("id")?, url: row.try_get("url")? })
}
