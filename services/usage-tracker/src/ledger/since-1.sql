CREATE TABLE refused (
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    version INTEGER NOT NULL,
    since INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    accepted_before INTEGER NOT NULL,
    PRIMARY KEY (tenant, client, version)
) WITHOUT ROWID;
