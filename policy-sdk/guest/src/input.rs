//! Conveniences on what hooks are asked about.

use crate::{Connection, HttpRequest, Process, Sensitivity};

impl Connection {
    /// Whether the host is `domain` or lies below it.
    ///
    /// ```
    /// # use openshell_policy_sdk::{Connection, testing};
    /// let connection = testing::ask("connect api.github.com:443").connection();
    /// assert!(connection.is_within("github.com"));
    /// assert!(!connection.is_within("hub.com"));
    /// ```
    #[must_use]
    pub fn is_within(&self, domain: &str) -> bool {
        match self.host.strip_suffix(domain) {
            Some("") => true,
            Some(rest) => rest.ends_with('.') && !domain.is_empty(),
            None => false,
        }
    }
}

impl Process {
    /// The executable's file name: what follows the last `/`.
    ///
    /// ```
    /// # use openshell_policy_sdk::testing;
    /// let connection = testing::ask("connect api.test:443 by /usr/bin/curl").connection();
    /// assert_eq!(connection.process.file_name(), "curl");
    /// ```
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.executable.rsplit('/').next().unwrap_or_default()
    }
}

impl HttpRequest {
    /// Whether the method only reads: GET, HEAD or OPTIONS.
    ///
    /// ```
    /// # use openshell_policy_sdk::testing;
    /// assert!(testing::ask("GET https://api.test/").http_request().is_read());
    /// assert!(!testing::ask("POST https://api.test/").http_request().is_read());
    /// ```
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// Names and values of the query, split at `&` and `=`, not decoded.
    ///
    /// ```
    /// # use openshell_policy_sdk::testing;
    /// let request = testing::ask("GET https://api.test/?a=1&b").http_request();
    /// assert_eq!(request.query_pairs().collect::<Vec<_>>(), [("a", "1"), ("b", "")]);
    /// ```
    pub fn query_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

impl Sensitivity {
    /// The sensitivity of this name: `public`, `internal`, `confidential` or `restricted`.
    ///
    /// ```
    /// # use openshell_policy_sdk::Sensitivity;
    /// assert_eq!(Sensitivity::from_name("restricted"), Some(Sensitivity::Restricted));
    /// assert!(Sensitivity::Public < Sensitivity::Restricted);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "public" => Some(Self::Public),
            "internal" => Some(Self::Internal),
            "confidential" => Some(Self::Confidential),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}
