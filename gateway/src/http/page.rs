//! Pages of lists, and the cursors that lead from one to the next.
//!
//! A cursor names the last item of a page by the key that its list is sorted by, so whatever is added or removed meanwhile, nothing that
//! stays is shown twice or left out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openshell_api::Page;
use openshell_api::page::{DEFAULT_LIMIT, MAX_LIMIT, MAX_RECORDS};
use serde::Deserialize;

use crate::error::{ApiError, ApiResult, refuse};

/// Which page of a list that has no filter.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// Go on after a page: its `next`.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// At most so many.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Items,
}

impl Part {
    /// As a list's own filter says.
    pub(super) fn new(cursor: Option<Cursor>, limit: Items) -> Self {
        Self { cursor, limit }
    }

    /// Most items.
    pub(super) fn limit(&self) -> u32 {
        self.limit.0
    }

    /// Key of the item after which it begins; absent: it begins with the first.
    pub(super) fn after(&self, list: &str) -> ApiResult<Option<String>> {
        self.cursor.as_ref().map(|cursor| cursor.key(list)).transpose()
    }

    /// The same for a list that is sorted by a number.
    pub(super) fn after_number(&self, list: &str) -> ApiResult<Option<i64>> {
        self.cursor.as_ref().map(|cursor| cursor.number(list)).transpose()
    }

    /// The page of a list that is had whole, sorted by `key` as text, ascending.
    pub(super) fn of<T>(&self, list: &str, mut items: Vec<T>, key: impl Fn(&T) -> String) -> ApiResult<Page<T>> {
        items.sort_by_cached_key(&key);
        if let Some(after) = self.after(list)? {
            items.retain(|item| key(item) > after);
        }
        Ok(page(list, items, self.limit(), key))
    }

    /// The same for one that is sorted descending.
    pub(super) fn of_newest<T>(&self, list: &str, mut items: Vec<T>, key: impl Fn(&T) -> String) -> ApiResult<Page<T>> {
        items.sort_by_cached_key(|item| std::cmp::Reverse(key(item)));
        if let Some(after) = self.after(list)? {
            items.retain(|item| key(item) < after);
        }
        Ok(page(list, items, self.limit(), key))
    }
}

/// A page of items that begin where it does, at least one more of them than it may have if there are more.
pub(super) fn page<T>(list: &str, mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|last| Cursor::after(list, &key(last)));
    Page { items, next }
}

/// A page of numbered items, newest first, as it is shown: oldest of them first. The next page has older ones.
pub(super) fn newest<T>(list: &str, items: Vec<T>, limit: u32, number: impl Fn(&T) -> i64) -> Page<T> {
    let mut page = page(list, items, limit, |item| number(item).to_string());
    page.items.reverse();
    page
}

/// How many items a page has at most: from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Limit<const LEAST: u32, const MOST: u32>(pub u32);

/// For most lists.
pub(super) type Items = Limit<1, MAX_LIMIT>;
/// For decisions and log lines; none: those to come alone are of interest.
pub(super) type Records = Limit<0, MAX_RECORDS>;

impl<const LEAST: u32, const MOST: u32> Default for Limit<LEAST, MOST> {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl<const LEAST: u32, const MOST: u32> TryFrom<u32> for Limit<LEAST, MOST> {
    type Error = String;

    fn try_from(given: u32) -> Result<Self, String> {
        match (LEAST..=MOST).contains(&given) {
            true => Ok(Self(given)),
            false => Err(format!("`limit` is {given}; a page has from {LEAST} to {MOST} items")),
        }
    }
}

/// Where a page ended, opaque to whoever passes it on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Cursor(String);

impl Cursor {
    fn after(list: &str, key: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{list}\n{key}"))
    }

    /// Refuses one of another list, and what is none.
    pub(super) fn key(&self, list: &str) -> ApiResult<String> {
        let decoded = URL_SAFE_NO_PAD.decode(&self.0).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let parts = decoded.as_deref().and_then(|text| text.split_once('\n'));
        match parts {
            Some((whose, key)) if whose == list => Ok(key.to_owned()),
            _ => Err(bad_cursor()),
        }
    }

    /// The same for a list that is sorted by a number.
    pub(super) fn number(&self, list: &str) -> ApiResult<i64> {
        self.key(list)?.parse().map_err(|_| bad_cursor())
    }
}

fn bad_cursor() -> ApiError {
    refuse(400, "bad_cursor", "`cursor` is not one of this list's")
        .hint("pass on the `next` of the page before, as it is")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(query: &str) -> Result<Part, String> {
        let uri = format!("/?{query}").parse().unwrap();
        axum::extract::Query::try_from_uri(&uri).map(|query| query.0).map_err(|error| error.body_text())
    }

    #[test]
    fn pages_follow_each_other_whatever_comes_and_goes() {
        let mut list: Vec<String> = ["b", "d", "f", "h"].map(String::from).to_vec();
        let look = |list: &[String], query: &str| {
            let page = part(query).unwrap().of("letters", list.to_vec(), String::clone).unwrap();
            (page.items.concat(), page.next)
        };
        let (first, next) = look(&list, "limit=2");
        assert_eq!(first, "bd");
        // Where the page ended, one goes and others come.
        list.retain(|letter| letter != "d");
        list.extend(["a", "e", "i"].map(String::from));
        list.sort();
        let (second, next) = look(&list, &format!("limit=2&cursor={}", next.unwrap()));
        assert_eq!(second, "ef");
        let (last, next) = look(&list, &format!("limit=2&cursor={}", next.unwrap()));
        assert_eq!((last.as_str(), next), ("hi", None));
    }

    #[test]
    fn newest_pages_lead_back() {
        let page = newest("n", vec![9, 7, 5], 2, |n| *n);
        assert_eq!(page.items, [7, 9]);
        assert_eq!(Cursor(page.next.unwrap()).number("n").unwrap(), 7);
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for query in ["limit=0", "limit=1001", "limit=-1", "limit=many", "limit=", "page=2", "limit=1&limit=2"] {
            assert!(part(query).is_err(), "{query}");
        }
        let other = Cursor::after("others", "a");
        for cursor in ["", "!", "YQ", other.as_str()] {
            let found = part(&format!("cursor={cursor}")).unwrap().after("letters");
            assert_eq!(found.unwrap_err().0.code, "bad_cursor", "{cursor}");
        }
        assert_eq!(Cursor(Cursor::after("n", "x")).number("n").unwrap_err().0.code, "bad_cursor");
    }
}
