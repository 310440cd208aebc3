//! What a Docker engine is asked for a gateway's sake: an image, a container. Its API is spoken over its socket, so that
//! no `docker` program is needed.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;

use crate::client::rest::Chain;
use crate::error::{Error, GatewayError};

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
const PING_LIMIT: Duration = Duration::from_secs(2);

/// An engine of this machine.
pub(super) struct Engine {
    /// Its socket.
    pub socket: PathBuf,
    http: reqwest::Client,
}

/// Where an engine is looked for: where `DOCKER_HOST` says, else the system's, else the user's own.
fn docker_host() -> String {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(|directory| PathBuf::from(directory).join("docker.sock"));
    match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => host,
        _ => match own.filter(|own| own.exists() && !std::path::Path::new(DEFAULT_SOCKET).exists()) {
            Some(own) => format!("unix://{}", own.display()),
            None => format!("unix://{DEFAULT_SOCKET}"),
        },
    }
}

impl Engine {
    /// The engine of this machine. Refuses where none answers, and one of another machine's: it could not mount what
    /// the gateway keeps here.
    pub async fn find() -> Result<Self, Error> {
        let host = docker_host();
        let none = |reason: String| GatewayError::NoEngine { host: host.clone(), reason };
        let socket = host.strip_prefix("unix://").ok_or_else(|| none("it is no socket of this machine".into()))?;
        let socket = PathBuf::from(socket);
        let http = reqwest::Client::builder().unix_socket(socket.clone()).no_proxy().build();
        let engine = Self { socket, http: http.map_err(|e| none(Chain(&e).to_string()))? };
        let ping = engine.http.get("http://docker/_ping").timeout(PING_LIMIT).send().await;
        let answer = ping.map_err(|e| none(Chain(&e).to_string()))?;
        if answer.status().is_success() { Ok(engine) } else { Err(none(answer.status().to_string()).into()) }
    }

    /// `GET`; `None` where there is no such thing.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, Error> {
        match self.send(Method::GET, path, None).await? {
            response if response.status().as_u16() == 404 => Ok(None),
            response => Ok(Some(self.value(path, response).await?)),
        }
    }

    /// `POST` of a document; of nothing, if it is `Null`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let body = (!body.is_null()).then(|| ("application/json", body.to_string().into_bytes()));
        let response = self.send(Method::POST, path, body).await?;
        self.value(path, response).await
    }

    /// `POST` of a tar archive.
    pub async fn post_archive(&self, path: &str, archive: Vec<u8>) -> Result<Value, Error> {
        let response = self.send(Method::POST, path, Some(("application/x-tar", archive))).await?;
        self.value(path, response).await
    }

    /// `DELETE`; what is not there is deleted already.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        match self.send(Method::DELETE, path, None).await? {
            response if response.status().as_u16() == 404 => Ok(()),
            response => self.value(path, response).await.map(drop),
        }
    }

    /// `DELETE` of what others may use, who then keep it: of an image that has containers (409), of a network that has (403).
    pub async fn delete_unused(&self, path: &str) -> Result<(), Error> {
        match self.send(Method::DELETE, path, None).await? {
            response if matches!(response.status().as_u16(), 403 | 404 | 409) => Ok(()),
            response => self.value(path, response).await.map(drop),
        }
    }

    /// The last lines that a container wrote, without the frames they come in (eight bytes before each piece).
    pub async fn logs(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = format!("/containers/{name}/logs?stdout=true&stderr=true&tail=20");
        let response = self.send(Method::GET, &path, None).await?;
        let framed = response.bytes().await.map_err(|e| self.refused(&path, Chain(&e).to_string()))?;
        let (mut rest, mut text) = (&framed[..], Vec::new());
        while let Some((head, after)) = rest.split_first_chunk::<8>() {
            let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let (piece, after) = after.split_at(length.min(after.len()));
            text.extend_from_slice(piece);
            rest = after;
        }
        Ok(text)
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&str, Vec<u8>)>) -> Result<Response, Error> {
        let mut request = self.http.request(method.clone(), format!("http://docker{path}")).timeout(ANSWER_LIMIT);
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body);
        }
        request.send().await.map_err(|e| self.refused(path, Chain(&e).to_string()))
    }

    /// The answer, as JSON where it is; `Null` else. Refusals are errors; "done already" (304) is none.
    async fn value(&self, path: &str, response: Response) -> Result<Value, Error> {
        let status = response.status();
        let text = response.text().await.map_err(|e| self.refused(path, Chain(&e).to_string()))?;
        // Progress comes as lines, and a failure as one of them.
        let last = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or(Value::Null);
        let failure = last["error"].as_str().or_else(|| last["message"].as_str().filter(|_| !status.is_success()));
        match failure {
            Some(reason) => Err(self.refused(path, reason.to_owned())),
            None if status.is_success() || status.as_u16() == 304 => Ok(serde_json::from_str(&text).unwrap_or(last)),
            None => Err(self.refused(path, status.to_string())),
        }
    }

    fn refused(&self, path: &str, reason: String) -> Error {
        let asked = path.split('?').next().unwrap_or_default().to_owned();
        GatewayError::Engine { asked, reason }.into()
    }
}
