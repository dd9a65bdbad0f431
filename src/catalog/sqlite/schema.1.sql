-- Format 1. docs/formats/catalog.md explains it. Text compares by bytes, times are microseconds since 1970.

CREATE TABLE documents (
    no      INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    version INTEGER NOT NULL,
    body    BLOB NOT NULL,
    UNIQUE (kind, id)
) STRICT;

-- kind and id repeat those of the document, so that a listing by key is one scan in order.
CREATE TABLE document_keys (
    document INTEGER NOT NULL REFERENCES documents (no) ON DELETE CASCADE,
    ordinal  INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    id       TEXT NOT NULL,
    PRIMARY KEY (document, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_by_key ON document_keys (kind, name, value, id);

-- A row stays for ever, so that its epoch does. holder is NULL once released.
CREATE TABLE leases (
    name    TEXT NOT NULL PRIMARY KEY,
    epoch   INTEGER NOT NULL,
    holder  TEXT,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Numbers for the streams that the tables below speak of; bytes is the sum of runs.bytes.
CREATE TABLE streams (
    no    INTEGER PRIMARY KEY,
    uid   BLOB NOT NULL UNIQUE,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE keys (
    stream     INTEGER NOT NULL REFERENCES streams (no),
    generation INTEGER NOT NULL,
    provider   TEXT NOT NULL,
    wrapped    BLOB NOT NULL,
    created    INTEGER NOT NULL,
    PRIMARY KEY (stream, generation)
) STRICT, WITHOUT ROWID;

-- parents is a JSON array of numbers.
CREATE TABLE shards (
    stream       INTEGER NOT NULL REFERENCES streams (no),
    shard        INTEGER NOT NULL,
    parents      TEXT NOT NULL,
    opened       INTEGER NOT NULL,
    closed       INTEGER,
    trim         INTEGER NOT NULL,
    next         INTEGER NOT NULL,
    last_arrival INTEGER NOT NULL,
    PRIMARY KEY (stream, shard)
) STRICT, WITHOUT ROWID;

-- state: 0 local, 1 stored.
CREATE TABLE segments (
    id      BLOB NOT NULL PRIMARY KEY,
    state   INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    footer  INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segments_by_state ON segments (state, id);

-- producer_class: how many bits the length of the producer's range has, see runs.rs.
CREATE TABLE runs (
    stream         INTEGER NOT NULL REFERENCES streams (no),
    shard          INTEGER NOT NULL,
    first          INTEGER NOT NULL,
    "end"          INTEGER NOT NULL,
    segment        BLOB NOT NULL,
    ordinal        INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    arrival_first  INTEGER NOT NULL,
    arrival_last   INTEGER NOT NULL,
    producer_class INTEGER NOT NULL,
    producer_start INTEGER NOT NULL,
    producer_end   INTEGER NOT NULL,
    PRIMARY KEY (stream, shard, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_arrival ON runs (stream, shard, arrival_last);
CREATE INDEX runs_by_producer ON runs (stream, shard, producer_class, producer_start);

CREATE TABLE mark (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    file   INTEGER NOT NULL,
    offset INTEGER NOT NULL
) STRICT;
INSERT INTO mark VALUES (1, 0, 0);
