-- Types of providers that a gateway has beside those that it brings along.

CREATE TABLE provider_types (
    name         TEXT PRIMARY KEY,
    type         TEXT NOT NULL               -- JSON: ProviderType
) STRICT, WITHOUT ROWID;
