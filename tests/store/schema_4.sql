BEGIN TRANSACTION;
CREATE TABLE "binding" (
   "vhost" TEXT NOT NULL,
   "source" TEXT NOT NULL,
   "destination_type" TEXT NOT NULL,
   "destination" TEXT NOT NULL,
   "routing_key" TEXT NOT NULL,
   "arguments" BLOB NOT NULL,
   PRIMARY KEY ("vhost", "source", "destination_type", "destination", "routing_key", "arguments")
);
CREATE TABLE chunk (
    queue INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    position INTEGER NOT NULL,
    time INTEGER NOT NULL,
    before INTEGER NOT NULL,
    PRIMARY KEY (queue, "offset")
) WITHOUT ROWID;
CREATE TABLE entry (
    queue INTEGER NOT NULL,
    position INTEGER NOT NULL,
    flags INTEGER NOT NULL, deadline INTEGER, deliveries INTEGER NOT NULL DEFAULT 0, acquired INTEGER NOT NULL DEFAULT 0, name TEXT,
    PRIMARY KEY (queue, position)
) WITHOUT ROWID;
CREATE TABLE "exchange" (
   "vhost" TEXT NOT NULL,
   "name" TEXT NOT NULL,
   "type" TEXT,
   "auto_delete" INTEGER,
   "internal" INTEGER,
   "arguments" BLOB,
   PRIMARY KEY ("vhost", "name")
);
CREATE TABLE "global_parameter" (
   "name" TEXT PRIMARY KEY NOT NULL,
   "value" TEXT
);
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    properties BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    shard TEXT NOT NULL,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    last_batch INTEGER NOT NULL,
    next_id INTEGER NOT NULL,
    clean INTEGER NOT NULL
);
CREATE TABLE note (
    space INTEGER NOT NULL,
    key BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE TABLE "operator_policy" (
   "vhost" TEXT NOT NULL,
   "name" TEXT NOT NULL,
   "pattern" TEXT,
   "apply_to" TEXT,
   "priority" INTEGER,
   "definition" TEXT,
   PRIMARY KEY ("vhost", "name")
);
CREATE TABLE "parameter" (
   "vhost" TEXT NOT NULL,
   "component" TEXT NOT NULL,
   "name" TEXT NOT NULL,
   "value" TEXT,
   PRIMARY KEY ("vhost", "component", "name")
);
CREATE TABLE "permission" (
   "user" TEXT NOT NULL,
   "vhost" TEXT NOT NULL,
   "configure" TEXT,
   "write" TEXT,
   "read" TEXT,
   PRIMARY KEY ("user", "vhost")
);
CREATE TABLE "policy" (
   "vhost" TEXT NOT NULL,
   "name" TEXT NOT NULL,
   "pattern" TEXT,
   "apply_to" TEXT,
   "priority" INTEGER,
   "definition" TEXT,
   PRIMARY KEY ("vhost", "name")
);
CREATE TABLE "queue" (
   "id" INTEGER PRIMARY KEY NOT NULL,
   "vhost" TEXT,
   "name" TEXT,
   "auto_delete" INTEGER,
   "type" TEXT,
   "arguments" BLOB
, levels INTEGER DEFAULT 1);
CREATE TABLE queue_depth (
    queue INTEGER PRIMARY KEY,
    messages INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE "topic_permission" (
   "user" TEXT NOT NULL,
   "vhost" TEXT NOT NULL,
   "exchange" TEXT NOT NULL,
   "write" TEXT,
   "read" TEXT,
   PRIMARY KEY ("user", "vhost", "exchange")
);
CREATE TABLE trash (
    queue INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
);
CREATE TABLE "user" (
   "name" TEXT PRIMARY KEY NOT NULL,
   "password_hash" TEXT,
   "hashing_algorithm" TEXT,
   "tags" TEXT
);
CREATE TABLE "user_limit" (
   "user" TEXT NOT NULL,
   "name" TEXT NOT NULL,
   "value" INTEGER,
   PRIMARY KEY ("user", "name")
);
CREATE TABLE "vhost" (
   "name" TEXT PRIMARY KEY NOT NULL,
   "description" TEXT,
   "tags" TEXT,
   "metadata" TEXT,
   "tracing" INTEGER
);
CREATE TABLE "vhost_limit" (
   "vhost" TEXT NOT NULL,
   "name" TEXT NOT NULL,
   "value" INTEGER,
   PRIMARY KEY ("vhost", "name")
);
CREATE INDEX entry_shared ON entry (position) WHERE flags & 1;
CREATE INDEX entry_early ON entry (queue, deadline) WHERE flags & 4;
CREATE VIEW queue_contents AS
SELECT queue.vhost, queue.name AS queue, entry.queue - queue.id AS priority, entry.position, message.exchange,
       message.routing_key, entry.deadline, entry.deliveries, length(message.body) AS size, message.body
FROM queue
CROSS JOIN entry ON entry.queue BETWEEN queue.id AND queue.id + queue.levels - 1
JOIN message ON message.id = entry.position
WHERE NOT EXISTS (
    SELECT 1 FROM trash WHERE trash.queue = entry.queue AND entry.position BETWEEN trash.first AND trash.last
);
CREATE INDEX entry_name ON entry (queue, name) WHERE name IS NOT NULL;
CREATE INDEX note_expires ON note (space, expires);
CREATE INDEX chunk_time ON chunk (queue, time);
CREATE VIEW stream_contents AS
SELECT numbered.vhost, numbered.stream, numbered."offset", message.exchange, message.routing_key,
       length(message.body) AS size, message.body, numbered.time
FROM (
    SELECT queue.vhost, queue.name AS stream, chunk.time, entry.position,
           chunk."offset" - 1 + row_number() OVER in_chunk AS "offset"
    FROM queue
    CROSS JOIN chunk ON chunk.queue = queue.id
    CROSS JOIN entry ON entry.queue = chunk.queue AND entry.position >= chunk.position AND entry.position < coalesce(
        (SELECT next.position FROM chunk AS next WHERE next.queue = chunk.queue AND next."offset" > chunk."offset"
         ORDER BY next."offset" LIMIT 1),
        9223372036854775807
    )
    WINDOW in_chunk AS (PARTITION BY queue.vhost, queue.name, chunk."offset" ORDER BY entry.position)
) AS numbered
CROSS JOIN message ON message.id = numbered.position;
COMMIT;
