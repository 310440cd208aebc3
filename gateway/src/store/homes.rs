//! Where bytes of modules are.

use super::db::{Turn, query};
use super::{Store, StoreError, puts, uint};

/// Where a module's bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home<B> {
    /// In the database.
    Database(B),
    /// Somewhere else.
    Bucket(Spot),
}

/// An object of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Which bucket, and where in it: `s3://bucket/prefix`.
    pub place: String,
    /// Its name below that.
    pub object: String,
}

impl Spot {
    /// One that was never there before, for the bytes with this digest (`sha256:<hex>`).
    pub fn new(place: String, digest: &str) -> Self {
        let id = ulid::Ulid::generate();
        Self { place, object: format!("{}/{id}.wasm", digest.replacen(':', "/", 1)) }
    }
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
        let sql =
            "SELECT size, place, object, bytes FROM modules LEFT JOIN module_bytes USING (digest) WHERE digest = $1";
        let Some(row) = query(sql).bind(digest).fetch_optional(&self.read).await? else { return Ok(None) };
        let (place, object): (Option<String>, Option<String>) = (row.try_get("place")?, row.try_get("object")?);
        let bytes: Option<Vec<u8>> = row.try_get("bytes")?;
        let home = match place {
            Some(place) => Home::Bucket(Spot { place, object: object.unwrap_or_else(|| by_digest(digest)) }),
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

    /// From now on a module's bytes are there. They are the same bytes. False: the object was given up before, and nothing has changed.
    pub async fn move_module(&self, digest: &str, home: &Home<&[u8]>) -> Result<bool, StoreError> {
        let mut tx = self.write.begin(Turn::Trail).await?;
        query("DELETE FROM module_bytes WHERE digest = $1").bind(digest).execute(&mut tx).await?;
        let spot = match home {
            Home::Bucket(spot) if !puts::settle(&mut tx, spot).await? => return Ok(false),
            Home::Bucket(spot) => Some(spot),
            Home::Database(bytes) => {
                let insert = query("INSERT INTO module_bytes (digest, bytes) VALUES ($1, $2)");
                insert.bind(digest).bind(*bytes).execute(&mut tx).await?;
                None
            }
        };
        query("UPDATE modules SET place = $1, object = $2 WHERE digest = $3")
            .bind(spot.map(|spot| spot.place.as_str()))
            .bind(spot.map(|spot| spot.object.as_str()))
            .bind(digest)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// What versions before called an object.
fn by_digest(digest: &str) -> String {
    format!("{}.wasm", digest.replacen(':', "/", 1))
}
