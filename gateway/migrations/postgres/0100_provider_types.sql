-- Types of providers that a gateway has beside those that it brings along.

CREATE TABLE provider_types (
    name          TEXT COLLATE "C" PRIMARY KEY,
    type          TEXT NOT NULL                                -- JSON: ProviderType
);
