//! A bucket of an S3-compatible server, for what has a digest.
//!
//! What is put there never changes: an object's name is for the same bytes for ever, and what is read is nothing unless it has their digest.
//! So it does not matter who else writes there, or how often the same is put.

mod address;
mod error;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path as Object;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use openshell_policy_host::digest;
use tokio_util::sync::CancellationToken;

pub use address::{BucketOptions, InvalidPlace, Place};
pub use error::BucketError;
use error::{Doing, failed};

use crate::upstream;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence of a server that was asked something.
const SILENCE: Duration = Duration::from_secs(20);
/// Longest time for one object, attempts included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts that follow the first one.
const RETRIES: usize = 3;
/// From when on none follows.
const RETRY_WITHIN: Duration = Duration::from_secs(10);
/// How often a bucket that answers is asked whether it still does.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often one that does not.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// What shows that the gateway may write and read.
const MARK: &str = "openshell";
const MARK_TEXT: &[u8] =
    b"Modules of an OpenShell gateway, by their digests. Its database says which of them there are.\n";

/// A bucket.
#[derive(Debug)]
pub struct Bucket {
    place: Place,
    objects: Arc<dyn ObjectStore>,
    /// Why it was of no use the last time, if it was not.
    trouble: Mutex<Option<String>>,
}

/// The gateway's own client: its roots, no proxies, no redirects.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    /// Gets ready to use a bucket; asks nothing yet. What the options leave open, the usual variables (`AWS_…`) say. Trusts the system's
    /// CAs and those given (PEM). Refuses a place that others could read along with, and one without keys.
    pub fn open(options: &BucketOptions, extra_ca: Option<&str>) -> Result<Self, BucketError> {
        let place = options.place.clone();
        let unusable = |reason: String| BucketError::Unusable { place: place.to_string(), reason };
        let client = upstream::patient(extra_ca, CONNECT, SILENCE).map_err(|error| unusable(error.to_string()))?;
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(place.bucket());
        if let Some(endpoint) = options.endpoint()? {
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        let builder = keys::given(builder, options, &place)?
            .with_http_connector(Connector(client))
            // Whether anything may go in the clear was decided above.
            .with_allow_http(true)
            // One is removed at a time, and not every server knows of more.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() },
                max_retries: RETRIES,
                retry_timeout: RETRY_WITHIN,
            });
        let objects = builder.build().map_err(|error| unusable(error.to_string()))?;
        Ok(Self::over(place, Arc::new(objects)))
    }

    fn over(place: Place, objects: Arc<dyn ObjectStore>) -> Self {
        Self { place, objects, trouble: Mutex::default() }
    }

    /// Where it is, as `s3://bucket/prefix`.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// Whether it can be written to and read: does both.
    pub async fn check(&self) -> Result<(), BucketError> {
        let mark = self.place.object(MARK);
        self.write(&mark, Bytes::from_static(MARK_TEXT)).await?;
        let found = self.read(&mark, MARK_TEXT.len() as u64).await?;
        self.verified(&mark, &digest(MARK_TEXT), found).map(drop)
    }

    /// Puts bytes there under this name. Once this has answered, they are there; where it fails, they may be.
    pub async fn put(&self, object: &str, bytes: Bytes) -> Result<(), BucketError> {
        self.write(&self.place.object(object), bytes).await
    }

    /// The bytes under this name, so many, with this digest (`sha256:<hex>`). Refuses others in their place.
    pub async fn get(&self, object: &str, digest: &str, size: u64) -> Result<Bytes, BucketError> {
        let object = self.place.object(object);
        let bytes = self.read(&object, size).await?;
        self.verified(&object, digest, bytes)
    }

    /// Removes what has this name, if there is anything. Where that fails, [`Self::trouble`] does not speak of it: it hinders nobody.
    pub async fn remove(&self, object: &str) -> Result<(), BucketError> {
        let object = self.place.object(object);
        match self.ended(&object, Doing::Removing, self.objects.delete(&object)).await {
            Err(BucketError::Missing { .. }) => Ok(()),
            removed => removed,
        }
    }

    /// Why it was of no use the last time it was asked; `None`: it was.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps an eye on it until `stopping`, so that [`Self::trouble`] says how it is.
    pub async fn watch(self: Arc<Self>, stopping: CancellationToken) {
        let mut before = self.trouble();
        loop {
            let wait = if self.trouble().is_some() { LOOK_AGAIN } else { LOOK_EVERY };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let _ = self.read(&self.place.object(MARK), MARK_TEXT.len() as u64).await;
            let now = self.trouble();
            match (&before, &now) {
                (None, Some(reason)) => tracing::warn!(place = %self.place, reason, "the bucket with modules is away"),
                (Some(_), None) => tracing::info!(place = %self.place, "the bucket with modules answers again"),
                _ => {}
            }
            before = now;
        }
    }

    async fn write(&self, object: &Object, bytes: Bytes) -> Result<(), BucketError> {
        self.within(object, Doing::Writing, self.objects.put(object, bytes.into())).await.map(drop)
    }

    /// Refuses more bytes than there should be before it reads them.
    async fn read(&self, object: &Object, size: u64) -> Result<Bytes, BucketError> {
        let read = async {
            let found = self.objects.get(object).await?;
            match found.meta.size {
                length if length == size => found.bytes().await.map(Ok),
                length => Ok(Err(length)),
            }
        };
        self.within(object, Doing::Reading, read).await?.map_err(|found| BucketError::Length {
            place: self.place.to_string(),
            object: object.to_string(),
            expected: size,
            found,
        })
    }

    fn verified(&self, object: &Object, expected: &str, bytes: Bytes) -> Result<Bytes, BucketError> {
        match digest(&bytes) {
            found if found == expected => Ok(bytes),
            found => Err(BucketError::Damaged {
                place: self.place.to_string(),
                object: object.to_string(),
                expected: expected.to_owned(),
                found,
            }),
        }
    }

    /// Does something that ends.
    async fn ended<T>(
        &self,
        object: &Object,
        doing: Doing,
        done: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, BucketError> {
        let place = self.place.to_string();
        match tokio::time::timeout(PATIENCE, done).await {
            Ok(done) => done.map_err(|error| failed(place, object, doing, &error)),
            Err(_) => {
                let reason = format!("no answer within {} s", PATIENCE.as_secs());
                Err(BucketError::Unreachable { place, reason })
            }
        }
    }

    /// The same, and remembers whether the bucket was of use.
    async fn within<T>(
        &self,
        object: &Object,
        doing: Doing,
        done: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, BucketError> {
        let done = self.ended(object, doing, done).await;
        let trouble = match &done {
            Err(BucketError::Unreachable { reason, .. } | BucketError::Refused { reason, .. }) => Some(reason.clone()),
            _ => None,
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        done
    }
}
