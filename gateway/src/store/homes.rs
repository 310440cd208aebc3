//! Where bytes of modules are.

use super::db::{Turn, query};
use super::{Store, StoreError, uint};

/// Where a module's bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home<B> {
    /// In the database.
    Database(B),
    /// Somewhere else, as `s3://bucket/prefix`, under their digest.
    Bucket(String),
}

/// A module's bytes, as the database knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where they are.
    pub home: Home<Vec<u8>>,
    /// How many there are.
    pub size: u64,
}

impl Store {
    /// A module's bytes, or where they are.
    pub async fn module_bytes(&self, digest: &str) -> Result<Option<Kept>, StoreError> {
        let sql = "SELECT size, place, bytes FROM modules LEFT JOIN module_bytes USING (digest) WHERE digest = $1";
        let Some(row) = query(sql).bind(digest).fetch_optional(&self.read).await? else { return Ok(None) };
        let (place, bytes): (Option<String>, Option<Vec<u8>>) = (row.try_get("place")?, row.try_get("bytes")?);
        let home = match place {
            Some(place) => Home::Bucket(place),
            None => Home::Database(bytes.unwrap_or_default()),
        };
        Ok(Some(Kept { home, size: uint(row.try_get("size")?) }))
    }

    /// Where bytes of modules are kept outside of the database, and of how many.
    pub async fn module_places(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let sql =
            "SELECT place, count(*) AS modules FROM modules WHERE place IS NOT NULL GROUP BY place ORDER BY place";
        let rows = query(sql).fetch_all(&self.read).await?;
        rows.iter().map(|row| Ok((row.try_get("place")?, uint(row.try_get("modules")?)))).collect()
    }

    /// Digests of modules whose bytes are in the database, or outside of it.
    pub async fn modules_kept(&self, in_database: bool) -> Result<Vec<String>, StoreError> {
        let rows = query("SELECT digest FROM modules WHERE (place IS NULL) = ($1 = 1) ORDER BY digest");
        let rows = rows.bind(in_database).fetch_all(&self.read).await?;
        rows.iter().map(|row| Ok(row.try_get("digest")?)).collect()
    }

    /// From now on a module's bytes are there. They are the same bytes.
    pub async fn move_module(&self, digest: &str, home: Home<&[u8]>) -> Result<(), StoreError> {
        let mut tx = self.write.begin(Turn::Trail).await?;
        query("DELETE FROM module_bytes WHERE digest = $1").bind(digest).execute(&mut tx).await?;
        let place = match home {
            Home::Bucket(place) => Some(place),
            Home::Database(bytes) => {
                let insert = query("INSERT INTO module_bytes (digest, bytes) VALUES ($1, $2)");
                insert.bind(digest).bind(bytes).execute(&mut tx).await?;
                None
            }
        };
        query("UPDATE modules SET place = $1 WHERE digest = $2").bind(place).bind(digest).execute(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}
