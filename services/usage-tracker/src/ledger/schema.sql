-- Times are milliseconds since 1970 by the bus's clock.
CREATE TABLE coverage (
    edge TEXT PRIMARY KEY,
    boot BLOB,
    number INTEGER,
    stored_at INTEGER,
    goodbye INTEGER,
    covered_from INTEGER NOT NULL,
    covered_through INTEGER,
    newest INTEGER NOT NULL,
    broken INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE counted (
    edge TEXT NOT NULL,
    boot BLOB NOT NULL,
    numbers TEXT NOT NULL,
    newest INTEGER NOT NULL,
    PRIMARY KEY (edge, boot)
) WITHOUT ROWID;
CREATE TABLE used (
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    version INTEGER NOT NULL,
    edge TEXT NOT NULL,
    first_use INTEGER NOT NULL,
    last_use INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (tenant, client, version, edge)
) WITHOUT ROWID;
CREATE TABLE refused (
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    version INTEGER NOT NULL,
    since INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    -- Uses of the keyring's other versions until then.
    accepted_before INTEGER NOT NULL,
    PRIMARY KEY (tenant, client, version)
) WITHOUT ROWID;
CREATE TABLE fresh (
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    PRIMARY KEY (tenant, client)
) WITHOUT ROWID;
