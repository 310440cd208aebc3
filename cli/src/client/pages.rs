//! Lists of a gateway, which come in pages.

use openshell_api::Page;
use openshell_api::page::{MAX_LIMIT, MAX_RECORDS};
use reqwest::Method;
use serde::de::DeserializeOwned;

use super::rest::{self, Chain, Client};
use crate::error::Error;

type Query<'a> = [(&'a str, String)];

impl Client {
    /// Every item of a list, page by page.
    pub(super) async fn all<T: DeserializeOwned>(&self, path: &str, query: &Query<'_>) -> Result<Vec<T>, Error> {
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.page(path, query, cursor, MAX_LIMIT).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// The newest so many items of a list whose pages lead back, oldest of them first.
    pub(super) async fn newest<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
        limit: usize,
        most: u32,
    ) -> Result<Vec<T>, Error> {
        let (mut pages, mut cursor, mut wanted) = (Vec::new(), None, limit);
        while wanted > 0 {
            let asked = u32::try_from(wanted).unwrap_or(most).min(most);
            let page = self.page(path, query, cursor, asked).await?;
            wanted = wanted.saturating_sub(page.items.len());
            pages.push(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(pages.into_iter().rev().flatten().collect())
    }

    /// The newest decisions or log lines.
    pub(super) async fn newest_records<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
        limit: usize,
    ) -> Result<Vec<T>, Error> {
        self.newest(path, query, limit, MAX_RECORDS).await
    }

    /// One page. A gateway that knows no pages answers the whole list.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Page<T>, Error> {
        let request = self.request(Method::GET, path).query(query).query(&[("limit", limit)]);
        let request = request.query(&cursor.map(|cursor| [("cursor", cursor)]));
        let what = format!("GET {path}");
        let answered = self.send(Method::GET, path, request).await?.bytes().await;
        let bytes = answered.map_err(|e| Error::Answer { request: what.clone(), reason: Chain(&e).to_string() })?;
        match bytes.first() {
            Some(b'[') => Ok(Page { items: rest::parse(&bytes, &what)?, next: None }),
            _ => rest::parse(&bytes, &what),
        }
    }
}

/// Something with the entity tag that it had when it was read.
pub struct Tagged<T> {
    /// It.
    pub value: T,
    /// `If-Match` of the call that replaces it; absent: the gateway gives none.
    pub etag: Option<String>,
}

impl Client {
    /// `GET`, with the entity tag.
    pub(super) async fn get_tagged<T: DeserializeOwned>(&self, path: &str) -> Result<Tagged<T>, Error> {
        let response = self.send(Method::GET, path, self.request(Method::GET, path)).await?;
        let etag = response.headers().get("etag").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Tagged { value: rest::json(response, "GET", path).await?, etag })
    }

    /// `PUT` in the place of what was read, if that is there still.
    pub(super) async fn put_tagged<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        etag: Option<&str>,
    ) -> Result<T, Error> {
        let mut request = self.request(Method::PUT, path).json(body);
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        rest::json(self.send(Method::PUT, path, request).await?, "PUT", path).await
    }
}
