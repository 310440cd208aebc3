//! What statements answer.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Error};

/// A row.
pub(in crate::store) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A column, by name or by number.
pub(in crate::store) trait Index: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> {}
impl<T: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>> Index for T {}

/// What a column is read as.
pub(in crate::store) trait Column<'r>: Sized {
    /// Reads it.
    fn read(row: &'r Row, index: impl Index) -> Result<Self, Error>;
}

impl Row {
    /// A column's value.
    pub(in crate::store) fn try_get<'r, T: Column<'r>>(&'r self, index: impl Index) -> Result<T, Error> {
        T::read(self, index)
    }
}

macro_rules! columns {
    ($($type:ty),*) => {
        $(impl<'r> Column<'r> for $type {
            fn read(row: &'r Row, index: impl Index) -> Result<Self, Error> {
                match row {
                    Row::Sqlite(row) => row.try_get(index),
                    Row::Postgres(row) => row.try_get(index),
                }
            }
        })*
    };
}

columns!(i64, String, &'r str, Vec<u8>, Option<Vec<u8>>, Option<i64>, Option<String>, Option<&'r str>);

/// Kept as 0 or 1.
impl<'r> Column<'r> for bool {
    fn read(row: &'r Row, index: impl Index) -> Result<Self, Error> {
        Ok(i64::read(row, index)? != 0)
    }
}
